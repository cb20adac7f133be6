"""Each process holds only what it needs: what is heavy stays out of where nobody uses it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.agent_process import AgentProcess, begin_at
from support.listener import Listener
from support.published import PublishedLadder

ENGINES = {"ai_edge_litert", "numpy", "tflite_runtime"}

NOT_FOR_INFERENCE = {
    "asyncio",
    "concurrent",
    "email",
    "importlib.metadata",
    "multiprocessing",
    "paho",
    "psutil",
    "pydantic",
    "pydantic_core",
    "secateur_agent.oip.server",
    "secateur_agent.settings",
    "secateur_protocols.message",
    "ssl",
    "statistics",
    "subprocess",
    "tempfile",
    "urllib.request",
}
"""What parses, connects or downloads: the control process does that."""

IMPORTED = "import json, sys, {}; print(json.dumps(sorted(sys.modules)))"


def modules_of(imported: str) -> set[str]:
    """Import in a fresh interpreter; give all that is there then."""
    command = [sys.executable, "-P", "-c", IMPORTED.format(imported)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=120)
    return set(json.loads(done.stdout))


def test_the_inference_process_imports_nothing_that_parses_or_connects() -> None:
    # The engines bring what they like: only what we add to that is ours.
    brought = modules_of("ai_edge_litert.interpreter, numpy")
    ours = modules_of("secateur_agent.inference.__main__, ai_edge_litert.interpreter")
    assert (ours - brought) & NOT_FOR_INFERENCE == set()


def test_the_probe_imports_nothing_that_parses_or_connects() -> None:
    assert modules_of("secateur_agent.probe") & {"paho", "pydantic", "ssl"} == set()


def test_the_control_process_imports_no_engine() -> None:
    assert modules_of("secateur_agent.cli") & ENGINES == set()


@pytest.mark.broker
@pytest.mark.engine
def test_an_inference_process_that_serves_has_not_imported_them_later_either(
    agent: AgentProcess, listener: Listener, published: PublishedLadder
) -> None:
    begin_at(agent, listener, published, 1)
    mapped = Path(f"/proc/{agent.inference().pid}/maps").read_text()
    assert "_multiarray_umath" in mapped, "numpy is not seen: the test cannot fail"
    assert "_pydantic_core" not in mapped
    assert "/_ssl." not in mapped
