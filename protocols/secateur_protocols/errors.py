"""All that a peer's bytes can do wrong. Never raised for our own mistakes."""


class ProtocolError(Exception):
    """A peer broke the protocol."""


class OversizedMessageError(ProtocolError):
    """A payload is longer than any message may be."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"message of {size_bytes} bytes, the limit is {limit_bytes}")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class MalformedMessageError(ProtocolError):
    """A payload is not the message its topic promises."""

    def __init__(self, kind: str, problem: str) -> None:
        super().__init__(f"not a valid {kind}: {problem}")
        self.kind = kind
        self.problem = problem


class MalformedTopicError(ProtocolError):
    """A topic is outside the tree."""

    def __init__(self, topic: str) -> None:
        super().__init__(f"not a Secateur topic: {topic[:200]!r}")
