"""What can go wrong on a device, grouped by what the caller should do."""

from secateur_protocols.plain import ReasonCode

EXIT_OK = 0
EXIT_FAILED = 1
"""The agent had to stop; starting it again may help."""
EXIT_BAD_INPUT = 2
"""Configuration or arguments cannot be used; the message says what to change."""


class AgentError(Exception):
    """A failure with a one-line message and the reason code that reports it."""

    def __init__(self, message: str, reason: ReasonCode) -> None:
        super().__init__(message)
        self.reason = reason


class TransientError(AgentError):
    """Trying again later may work.

    Attributes:
        retry_after_s: How long the other side asks us to wait at least, seconds.
    """

    def __init__(self, message: str, reason: ReasonCode, *, retry_after_s: float = 0.0) -> None:
        super().__init__(message, reason)
        self.retry_after_s = retry_after_s


class PermanentError(AgentError):
    """Trying again gives the same."""


class ConfigError(Exception):
    """The agent's configuration cannot be used; nothing was started."""


class SystemToolError(Exception):
    """A tool of the system, such as systemctl, failed; trying again may help."""
