"""What is shared with processes that parse no message: pydantic is not imported here."""

from enum import StrEnum

MAX_HISTORY = 16
"""Periods of history that a telemetry message may carry."""

MAX_NUMBERS = 1024
"""In a result, of all outputs together; one that has no room is named without its numbers."""

MAX_OUTPUTS = 8
"""In a result."""

MAX_OUTPUTS_TOLD = 32
"""Values of the golden outputs that a proof of run carries."""


class ReasonCode(StrEnum):
    """Why an update did not succeed."""

    NO_SPACE = "no_space"
    OOM = "oom"
    OOM_PREDICTED = "oom_predicted"
    TOO_HOT = "too_hot"
    BATTERY_LOW = "battery_low"
    METERED_BUDGET = "metered_budget"
    CONNECTION_LOST = "connection_lost"
    HTTP_STATUS = "http_status"
    DIGEST_MISMATCH = "digest_mismatch"
    SIGNATURE_INVALID = "signature_invalid"
    METADATA_EXPIRED = "metadata_expired"
    VERSION_FLOOR = "version_floor"
    UNSUPPORTED_ENGINE = "unsupported_engine"
    UNSUPPORTED_HARDWARE = "unsupported_hardware"
    LOAD_FAILED = "load_failed"
    WARMUP_FAILED = "warmup_failed"
    GOLDEN_MISMATCH = "golden_mismatch"
    SLO_LATENCY = "slo_latency"
    SLO_MEMORY = "slo_memory"
    SLO_TEMPERATURE = "slo_temperature"
    OPERATOR = "operator"
    SUPERSEDED = "superseded"
    TIMEOUT = "timeout"
