"""What agents and servers write to their logs: one vocabulary of events, in two forms.

A line is for a reader or for a program, never for both: ``console`` says it in words,
``json`` as one object per line with the same words, the event and its fields.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from enum import StrEnum


class LogForm(StrEnum):
    """How a line is written."""

    CONSOLE = "console"
    JSON = "json"


class LogEvent(StrEnum):
    """What a line is about; what devices also say by MQTT has the name that it has there."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    MESSAGE_REFUSED = "message_refused"
    FAULT = "fault"
    SWITCHED = "switched"
    REFUSED = "refused"
    ROLLED_BACK = "rolled_back"
    INFERENCE_READY = "inference_ready"
    STANDBY_READY = "standby_ready"
    SWEEP_PUT_OFF = "sweep_put_off"
    HTTP_CLOSED = "http_closed"
    SHARED_SUBSCRIPTION_TESTED = "shared_subscription_tested"
    ROLLOUT_LEFT_OUT = "rollout_left_out"
    NOT_SAVED = "not_saved"
    METADATA_NOT_REFRESHED = "metadata_not_refreshed"
    METADATA_EXPIRES = "metadata_expires"
    ENROLLED = "enrolled"
    ENROLMENT_REFUSED = "enrolment_refused"
    CONNECTION_ENDED_EARLY = "connection_ended_early"
    ENROLMENT_FAILED = "enrolment_failed"


CONSOLE = "%(asctime)s %(levelname)s %(message)s"


def about(event: LogEvent, /, **fields: str | float | None) -> dict[str, object]:
    """Say what a line is about, as the argument ``extra`` of a logger's method."""
    return {"event": event, "fields": fields}


class JsonFormatter(logging.Formatter):
    """One JSON object per line.

    It has ``time`` (RFC 3339, UTC), ``level``, ``logger``, ``event`` where one is known,
    ``text``, the event's fields, and ``traceback`` after an error that nobody expected.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Write a record; a field never takes the place of one of the above."""
        time = datetime.fromtimestamp(record.created, UTC)
        said: dict[str, object] = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if hasattr(record, "event"):
            said["event"] = str(record.event)
        said["text"] = record.getMessage()
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps({**getattr(record, "fields", {}), **said})


def log_to_stderr(form: LogForm, level: int) -> None:
    """Let all loggers of this process write to stderr, in place of what was set before."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = JsonFormatter() if form is LogForm.JSON else logging.Formatter(CONSOLE)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
