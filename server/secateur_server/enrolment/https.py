"""Certificates by HTTPS: the first one for a token, the next one for the one before.

    GET  /fleet-ca.crt     the authority's certificate; a device checks it by its token
    GET  /root.json        the root whose models devices may run, where there is one
    POST /enroll           a request (PEM), with `Authorization: Bearer TOKEN`
    POST /renew            a request (PEM), over TLS with the certificate that is to be renewed

Answers are the new certificate, PEM. 401: who asks is not known; 400: this is no request.
"""

import contextlib
import datetime as dt
import http.server
import logging
import ssl
import threading
from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from secateur_protocols.logs import LogEvent, about
from secateur_server.adapters.files import write_atomically
from secateur_server.enrolment.authority import FleetAuthority
from secateur_server.enrolment.tokens import TokenRefusedError, Tokens
from secateur_server.errors import InputError, ServerError
from secateur_server.signing.places import Places

log = logging.getLogger("secateur.enrolment")

MAX_REQUEST_BYTES = 16_384
"""A certificate request is under a kilobyte."""
SILENCE_S = 10.0
"""Longest that a device may keep silent in the middle of a request, seconds."""
MAX_CONNECTIONS = 32

Clock = Callable[[], dt.datetime]


class EnrolmentServer:
    """Serves in threads of its own until stopped."""

    def __init__(
        self, authority: FleetAuthority, *, host: str, port: int, names: list[str], now: Clock
    ) -> None:
        """Make its certificate and bind.

        Args:
            authority: Issues, and knows whom.
            host: Where to listen.
            port: 0 takes a free one.
            names: Hosts and addresses by which devices come.
            now: Gives the time, with its zone.

        Raises:
            InputError: The address cannot be bound.
        """
        context = _context(authority, names, now())
        try:
            self._server = _Server((host, port), authority, context, now)
        except OSError as error:
            raise InputError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="enrolment")

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """End; requests under way are answered."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        authority: FleetAuthority,
        context: ssl.SSLContext,
        now: Clock,
    ) -> None:
        super().__init__(address, _Handler)
        self.authority = authority
        self.tokens = Tokens(authority.folder, authority.fingerprint)
        # A device walks from the first to the newest by itself.
        folder = Places(authority.folder.parent).repository.folder
        self.root_path = folder / "1.root.json"
        self.now = now
        self._context = context
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the library has it
        """Shake hands here, so that a silent client keeps nobody but itself waiting."""
        if not self._places.acquire(timeout=SILENCE_S):
            self.shutdown_request(request)
            return
        try:
            request.settimeout(SILENCE_S)
            with contextlib.suppress(OSError):  # a stranger who does not speak TLS
                secure = self._context.wrap_socket(request, server_side=True)
                super().process_request_thread(secure, client_address)
                return
            self.shutdown_request(request)
        finally:
            self._places.release()

    def handle_error(self, _request: Any, client_address: Any) -> None:  # noqa: ANN401 - as above
        """Say it in one line; a client that goes away is no fault of ours."""
        told = about(LogEvent.CONNECTION_ENDED_EARLY, address=client_address[0])
        log.info("a connection from %s ended early", client_address[0], extra=told)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    connection: ssl.SSLSocket
    server_version = "secateur"
    sys_version = ""

    def do_GET(self) -> None:
        path = {
            "/fleet-ca.crt": self.server.authority.certificate_path,
            "/root.json": self.server.root_path,
        }.get(self.path)
        if path is None or not path.exists():
            self.send_error(404, "there is none")
        else:
            self._answer(path.read_bytes())

    def do_POST(self) -> None:
        issue = {"/enroll": self._enroll, "/renew": self._renew}.get(self.path)
        length = self.headers.get("Content-Length", "")
        if issue is None:
            self.send_error(404)
        elif not length.isdecimal() or int(length) > MAX_REQUEST_BYTES:
            self.send_error(413)
        else:
            self._try(issue, self.rfile.read(int(length)))

    def _try(self, issue: Callable[[bytes], bytes], csr: bytes) -> None:
        try:
            self._answer(issue(csr))
        except TokenRefusedError as error:
            told = about(LogEvent.ENROLMENT_REFUSED, address=self.client_address[0])
            log.warning("refused to %s: %s", self.client_address[0], error, extra=told)
            self.send_error(401, str(error))
        except InputError as error:
            self.send_error(400, str(error))
        except ServerError as error:
            told = about(LogEvent.ENROLMENT_FAILED)
            log.error("enrolment: %s", error, extra=told)  # noqa: TRY400 - one line says it
            self.send_error(503, "try again later")

    def _enroll(self, csr: bytes) -> bytes:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        key = requested_key(csr)
        now = self.server.now()
        device = self.server.tokens.redeem(token if scheme == "Bearer" else "", key, now=now)
        return self._issue(device, csr, now)

    def _renew(self, csr: bytes) -> bytes:
        presented = self.connection.getpeercert(binary_form=True)
        if presented is None:
            raise TokenRefusedError("show the certificate that is to be renewed")
        certificate = x509.load_der_x509_certificate(presented)
        if self.server.authority.is_revoked(f"{certificate.serial_number:x}"):
            raise TokenRefusedError("this certificate was revoked")
        [name] = certificate.subject
        return self._issue(str(name.value), csr, self.server.now())

    def _issue(self, device: str, csr: bytes, now: dt.datetime) -> bytes:
        told = about(LogEvent.ENROLLED, device=device)
        log.warning("%s gets a certificate", device, extra=told)
        return self.server.authority.enroll(device, now=now, csr=csr).certificate

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-pem-file")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing of each request; what counts is logged above."""


def requested_key(csr: bytes) -> bytes:
    """Give the public key of a request.

    Raises:
        InputError: It is none.
    """
    try:
        request = x509.load_pem_x509_csr(csr)
    except ValueError as error:
        raise InputError("this is no certificate request") from error
    return request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _context(authority: FleetAuthority, names: list[str], now: dt.datetime) -> ssl.SSLContext:
    issued = authority.certify_server(names, now=now)
    chain = authority.folder / "enrolment.pem"
    write_atomically(chain, issued.certificate + (issued.key or b""), mode=0o600)
    context = ssl.create_default_context(
        ssl.Purpose.CLIENT_AUTH, cafile=str(authority.certificate_path)
    )
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_cert_chain(chain)
    return context
