"""What an artifact takes in memory, measured in a process of its own."""

import subprocess
import sys
import tempfile
from pathlib import Path

TIMEOUT_S = 60.0
"""How long loading and one inference may take, seconds."""

_CHILD = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
def said(name):
    for line in open("/proc/self/status"):
        if line.startswith(name):
            return int(line.split()[1]) * 1024
before = said("VmRSS")
model = Interpreter(model_path=sys.argv[1], num_threads=1)
model.allocate_tensors()
for each in model.get_input_details():
    model.set_tensor(each["index"], np.zeros(each["shape"], each["dtype"]))
model.invoke()
print(max(said("VmHWM") - before, 0))
"""


def peak_memory_bytes(artifact: bytes) -> int | None:
    """Load an artifact, run it once, and see what that added to resident memory at most.

    Returns:
        Bytes; ``None`` where it could not be measured.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "artifact.tflite"
        path.write_bytes(artifact)
        try:
            done = subprocess.run(  # noqa: S603 - our own code
                [sys.executable, "-P", "-c", _CHILD, str(path)],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
    said = done.stdout.strip()
    return int(said) if done.returncode == 0 and said.isdigit() else None
