"""The same promises as the tests beside it, against inputs that coverage guides."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("coverage_guided.py")


SEEDS = {
    "messages": b'{"revision": 1, "artifacts_url": "http://x", "models": []}',
    "topics": b"secateur/v1/home/meter-7/telemetry",
    "heads": b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"
    b"Inference-Header-Content-Length: 5\r\nConnection: close",
    "bodies": b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}',
}
"""What is right: coverage grows from there."""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="no atheris here")
@pytest.mark.parametrize("target", SEEDS)
def test_no_input_is_more_than_the_documented_error(target: str, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "seed").write_bytes(SEEDS[target])
    flags = ["-runs=50000", f"-artifact_prefix={tmp_path}/", str(corpus)]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), target, *flags],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Done 50000 runs" in done.stderr
