"""Virtual environments of their own, for what does not go into ours; made once and kept."""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "environments"
PIP_S = 280


def environment(name: str, *requirements: str, python: str = "python3") -> Path:
    """Give the interpreter of an environment that has these distributions.

    Where it cannot be made, without a network say, the test is skipped with the reason.
    """
    key = hashlib.sha256(" ".join([python, *requirements]).encode()).hexdigest()[:8]
    folder = CACHE / f"{name}-{key}"
    interpreter, complete = folder / "bin" / "python", folder / "complete"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            problem = _make(folder, interpreter, requirements, python)
            if problem is not None:
                shutil.rmtree(folder, ignore_errors=True)
                pytest.skip(f"no environment {name}: {problem}")
            complete.touch()
    return interpreter


def _make(
    folder: Path, interpreter: Path, requirements: tuple[str, ...], python: str
) -> str | None:
    found = shutil.which(python)
    if found is None:
        return f"{python} is not installed"
    shutil.rmtree(folder, ignore_errors=True)
    pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in ([found, "-m", "venv", str(folder)], [*pip, *requirements]):
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=PIP_S, check=False
            )
        except subprocess.TimeoutExpired:
            return f"{command[0]} took too long"
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["pip failed"]
            return lines[-1]
    return None
