"""Run by the test beside it, where atheris is installed: ``coverage_guided.py TARGET [flags]``.

Atheris watches which branches an input takes, and grows inputs that take new ones. Whatever
is not a value or the documented error ends the run.
"""

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress

import atheris

with atheris.instrument_imports():
    from secateur_agent.oip.errors import RequestError
    from secateur_agent.oip.head import parse_head
    from secateur_agent.oip.inference import parse_request
    from secateur_protocols.codec import decode, encode
    from secateur_protocols.errors import ProtocolError
    from secateur_protocols.state import Desired
    from secateur_protocols.telemetry import Telemetry
    from secateur_protocols.topics import device_topic, parse_device_topic


def messages(content: bytes) -> None:
    for kind in (Desired, Telemetry):
        with suppress(ProtocolError):
            message = decode(kind, content)
            assert decode(kind, encode(message)) == message


def topics(content: bytes) -> None:
    with suppress(ProtocolError):
        topic = content.decode(errors="replace")
        parsed = parse_device_topic(topic)
        assert device_topic(parsed.site, parsed.device, parsed.leaf) == topic


def heads(content: bytes) -> None:
    with suppress(RequestError):
        assert 0 <= parse_head(content, 10_000).body_bytes <= 10_000


def bodies(content: bytes) -> None:
    for json_bytes in (None, len(content) // 2):
        with suppress(RequestError):
            parse_request(content, json_bytes)


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "messages": messages,
    "topics": topics,
    "heads": heads,
    "bodies": bodies,
}


if __name__ == "__main__":
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
