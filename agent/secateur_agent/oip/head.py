"""The head of an HTTP/1.1 request, from bytes: only what a server of this kind needs.

Source: RFC 9112, sections 3, 5, 6 and 9.3.
"""

import re
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import unquote

from secateur_agent.oip.errors import RequestError

MAX_HEAD_BYTES = 16_384
"""Of request line and header fields together."""

_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) (/[\x21-\x7e]*) HTTP/1\.([01])\Z")
_FIELD_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_DIGITS = re.compile(rb"[0-9]{1,15}\Z")

HEADER_LENGTH = b"inference-header-content-length"
"""Of the protocol's binary extension: where the JSON ends and the tensors begin."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a request asks for.

    Attributes:
        path: Decoded, without the query, cut at its slashes.
        json_bytes: Of the body; the rest is tensors. ``None``: all of it is JSON.
        keeps_alive: Whether the connection stays for another request.
        awaits_continue: Whether the client sends the body only when told to.
    """

    method: str
    path: tuple[str, ...]
    body_bytes: int
    json_bytes: int | None
    keeps_alive: bool
    awaits_continue: bool


def parse_head(raw: bytes, max_body_bytes: int) -> Head:
    """Read a head, without the empty line that ends it.

    Raises:
        RequestError: It is none, or asks for what this server does not do.
    """
    lines = raw.split(b"\r\n")
    line = _REQUEST_LINE.match(lines[0])
    if line is None:
        raise _unreadable("not an HTTP/1.1 request")
    fields = _fields(lines[1:])
    _refuse_unsupported(fields)
    body_bytes = _number(fields, b"content-length") or 0
    if body_bytes > max_body_bytes:
        status, text = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {max_body_bytes} bytes"
        raise RequestError(status, f"a body of {body_bytes} bytes; {text}", closes=True)
    json_bytes = _number(fields, HEADER_LENGTH)
    if json_bytes is not None and json_bytes > body_bytes:
        raise _unreadable("Inference-Header-Content-Length is more than Content-Length")
    options = fields.get(b"connection", b"").lower()
    return Head(
        method=line[1].decode(),
        path=tuple(unquote(line[2].partition(b"?")[0].decode()).strip("/").split("/")),
        body_bytes=body_bytes,
        json_bytes=json_bytes,
        keeps_alive=b"close" not in options and (line[3] == b"1" or b"keep-alive" in options),
        awaits_continue=fields.get(b"expect", b"").lower() == b"100-continue",
    )


def _fields(lines: list[bytes]) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or _FIELD_NAME.match(name) is None:
            raise _unreadable("a header field is not name: value")
        name, value = name.lower(), value.strip(b" \t")
        # Two lengths that differ are how requests are smuggled past a proxy.
        if fields.setdefault(name, value) != value and name in {
            b"content-length",
            HEADER_LENGTH,
        }:
            raise _unreadable(f"{name.decode()} is given twice")
    return fields


def _refuse_unsupported(fields: dict[bytes, bytes]) -> None:
    if b"transfer-encoding" in fields:
        problem = "chunked bodies are not taken: send Content-Length"
        raise RequestError(HTTPStatus.LENGTH_REQUIRED, problem, closes=True)
    if fields.get(b"content-encoding", b"identity").lower() != b"identity":
        problem = "compressed bodies are not taken"
        raise RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, problem, closes=True)


def _number(fields: dict[bytes, bytes], name: bytes) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if _DIGITS.match(value) is None:
        raise _unreadable(f"{name.decode()} is no number")
    return int(value)


def _unreadable(problem: str) -> RequestError:
    return RequestError(HTTPStatus.BAD_REQUEST, problem, closes=True)
