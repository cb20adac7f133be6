"""Bytes to messages and back: the only parser, with the size limit."""

from typing import TypeVar

from pydantic import ValidationError

from secateur_protocols.errors import MalformedMessageError, OversizedMessageError
from secateur_protocols.message import Message

MAX_MESSAGE_BYTES = 65_535
"""Rule W9: a message is less than 65,536 bytes; several brokers drop longer ones."""

MAX_QUOTED_CHARACTERS = 200
"""Of a place or a problem in an error message."""

M = TypeVar("M", bound=Message)


def encode(message: Message) -> bytes:
    """Write a message as UTF-8 JSON, fields that are ``None`` left out.

    Raises:
        ValueError: It would be longer than `MAX_MESSAGE_BYTES`: our own mistake.
    """
    payload = message.model_dump_json(exclude_none=True).encode()
    if len(payload) > MAX_MESSAGE_BYTES:
        msg = f"{type(message).__name__} of {len(payload)} bytes is too long to send"
        raise ValueError(msg)
    return payload


def decode(kind: type[M], payload: bytes) -> M:
    """Read one message of a kind.

    Raises:
        OversizedMessageError: Longer than `MAX_MESSAGE_BYTES`; nothing was parsed.
        MalformedMessageError: Not JSON, or not of this kind.
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise OversizedMessageError(len(payload), MAX_MESSAGE_BYTES)
    return decode_document(kind, payload)


def decode_document(kind: type[M], document: bytes) -> M:
    """Read one message of a kind from a file, whose size its reader has bounded.

    Raises:
        MalformedMessageError: Not JSON, or not of this kind.
    """
    try:
        return kind.model_validate_json(document)
    except ValidationError as error:
        raise MalformedMessageError(kind.__name__, first_problem(error)) from None
    except (RecursionError, ValueError) as error:
        raise MalformedMessageError(kind.__name__, type(error).__name__) from None


def first_problem(error: ValidationError) -> str:
    """Say in one printable line of bounded length where a document is wrong first.

    A key or a tag of the document may be quoted in it, and its author may be an enemy: what
    could forge a line of a log or steer a terminal is replaced.
    """
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(step) for step in first["loc"]) or "document"
    return f"{_printable(place)}: {_printable(first['msg'])}"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:MAX_QUOTED_CHARACTERS])
