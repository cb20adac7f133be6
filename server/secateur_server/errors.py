"""What can go wrong on the server, grouped by what the caller should do.

Every command ends with one of the exit codes here; `docs/cli.md` lists them.
"""

EXIT_OK = 0
EXIT_FAILED = 1
"""Something that should have worked did not; trying again may help."""
EXIT_BAD_INPUT = 2
"""What the user gave cannot be used; the message says what to change."""
EXIT_NOTHING_TO_DO = 3
"""The input is fine and there is nothing to do with it, e.g. nothing to prune."""


class ServerError(Exception):
    """A failure with a one-line message that names the thing and what to do."""

    exit_code = EXIT_FAILED


class TransientError(ServerError):
    """Trying again later may work."""


class PolicyConflictError(TransientError):
    """Somebody else has changed policy meanwhile; nothing was written."""


class RolloutConflictError(TransientError):
    """Somebody else has changed a rollout meanwhile; nothing was written."""


class InputError(ServerError):
    """What the user gave cannot be used; nothing was written."""

    exit_code = EXIT_BAD_INPUT


class NothingToDoError(ServerError):
    """The input is fine and there is nothing to do with it."""

    exit_code = EXIT_NOTHING_TO_DO
