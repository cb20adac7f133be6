"""Which engines are installed, found out without importing one.

The control process only names the engine: importing it, and numpy with it, would cost twenty
megabytes that the inference process already pays for.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class EngineName(StrEnum):
    """Which engine to use."""

    AUTO = "auto"
    LITERT = "litert"
    TFLITE_RUNTIME = "tflite-runtime"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine that may be installed.

    Attributes:
        package: Its distribution.
        module: What to import of it.
    """

    name: EngineName
    package: str
    module: str

    def version(self) -> str:
        """Read the version that is installed."""
        # Here alone: it brings 60 modules, and the inference process needs no version.
        import importlib.metadata  # noqa: PLC0415 - see above

        return importlib.metadata.version(self.package)


_CANDIDATES = (
    Candidate(EngineName.LITERT, "ai-edge-litert", "ai_edge_litert.interpreter"),
    Candidate(EngineName.TFLITE_RUNTIME, "tflite-runtime", "tflite_runtime.interpreter"),
)


class EngineMissingError(Exception):
    """No engine of this name is installed."""

    def __init__(self, name: EngineName) -> None:
        wanted = "an inference engine" if name is EngineName.AUTO else f"the engine {name}"
        extra = "tflite-runtime" if name is EngineName.TFLITE_RUNTIME else "agent"
        super().__init__(f"{wanted} is not installed: pip install 'secateur[{extra}]'")


def candidates(name: EngineName) -> Sequence[Candidate]:
    """List the engines that may serve under this name, the preferred one first."""
    return [each for each in _CANDIDATES if name in {EngineName.AUTO, each.name}]


def find_installed(name: EngineName) -> Candidate:
    """Find the engine of this name, or the first that is installed.

    Raises:
        EngineMissingError: It is not installed.
    """
    for candidate in candidates(name):
        if importlib.util.find_spec(candidate.module.partition(".")[0]) is not None:
            return candidate
    raise EngineMissingError(name)
