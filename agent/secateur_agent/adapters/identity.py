"""Who the device is to the broker: its certificate, renewed while the agent runs."""

import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import SystemRandom

from secateur_agent.credentials import Credentials, renew
from secateur_agent.errors import ConfigError, SystemToolError
from secateur_agent.settings import BrokerSettings

FIRST_LOOK_S = (60.0, 600.0)
LOOK_S = (21_600.0, 43_200.0)
"""Between these each wait is drawn, seconds: a fleet made at once does not renew at once."""

LEFT_RATIO = 1 / 3
"""A certificate with less than this of its life left is renewed."""

OPENSSL_S = 20.0


class Identity:
    """The TLS context of the broker's connection; what is renewed is used from the next one."""

    def __init__(self, settings: BrokerSettings, state_dir: Path) -> None:
        """Read the certificates: the renewed one, if it outlives the configured one.

        Raises:
            ConfigError: A file cannot be read, or is not what it should be.
        """
        self._settings = settings
        self._renewed = Credentials(state_dir / "credentials")
        try:
            self.context = ssl.create_default_context(cafile=settings.ca_file)
            if settings.cert_file is not None:
                self._certificate = self._newest(settings.cert_file)
                key = settings.key_file if self._certificate == settings.cert_file else None
                self.context.load_cert_chain(self._certificate, key)
        except OSError as error:  # what OpenSSL raises is one too
            files = (settings.ca_file, settings.cert_file, settings.key_file)
            names = " or ".join(str(name) for name in files if name is not None)
            raise ConfigError(f"broker: cannot use {names}: {error}") from error

    def watch(self, complain: Callable[[str], None]) -> None:
        """Renew in time, in a thread that ends with the process; what fails is tried again."""
        if self._settings.renew_url is not None:
            watch = threading.Thread(target=self._watch, args=(complain,), daemon=True)
            watch.start()

    def renew_if_due(self, now_s: float) -> bool:
        """Renew the certificate when little of its life is left.

        Args:
            now_s: Seconds since the epoch.

        Returns:
            Whether it was renewed.

        Raises:
            ConfigError: The authority refuses; what we have is used on.
            SystemToolError: No answer; try again.
        """
        url = self._settings.renew_url
        begin_s, end_s = lifetime(self._certificate)
        if url is None or end_s - now_s > LEFT_RATIO * (end_s - begin_s):
            return False
        authority = self._settings.ca_file
        trusted = authority.read_bytes() if authority is not None else b""
        renew(url, self.context, trusted, self._renewed)
        self._certificate = self._renewed.certificate
        self.context.load_cert_chain(self._certificate)
        return True

    def _watch(self, complain: Callable[[str], None]) -> None:
        time.sleep(SystemRandom().uniform(*FIRST_LOOK_S))
        while True:
            try:
                self.renew_if_due(time.time())
            except (ConfigError, SystemToolError, OSError) as error:
                complain(f"the certificate was not renewed: {error}")
            time.sleep(SystemRandom().uniform(*LOOK_S))

    def _newest(self, configured: Path) -> Path:
        renewed = self._renewed.certificate
        try:
            is_newer = lifetime(renewed)[1] > lifetime(configured)[1]
        except SystemToolError:
            return configured
        return renewed if is_newer else configured


def lifetime(certificate: Path) -> tuple[float, float]:
    """Say when a certificate's life begins and ends, seconds since the epoch.

    Raises:
        SystemToolError: It cannot be read, or openssl is missing.
    """
    command = ("openssl", "x509", "-noout", "-startdate", "-enddate", "-in", str(certificate))
    try:
        done = subprocess.run(  # noqa: S603 - openssl
            command, capture_output=True, text=True, check=True, timeout=OPENSSL_S
        )
        begin, end = (line.partition("=")[2] for line in done.stdout.splitlines())
        return ssl.cert_time_to_seconds(begin), ssl.cert_time_to_seconds(end)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise SystemToolError(f"cannot read {certificate}: {error}") from error
