"""Virtual environments for peers: made once, by pip, outside of the product's own."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "secateur-peers"
INSTALL_S = 1_800.0


class PeerMissingError(Exception):
    """A peer cannot be installed here; the message is pip's last word."""


def python_with(name: str, requirements: Sequence[str]) -> Path:
    """Give the interpreter of an environment with just these distributions.

    It is made where it is not there yet; a half-made one is made again.

    Raises:
        PeerMissingError: pip could not install them.
    """
    key = hashlib.sha256("\n".join((sys.version, *requirements)).encode()).hexdigest()[:12]
    folder = FOLDER / f"{name}-{key}"
    python, stamp = folder / "bin" / "python", folder / "made"
    if stamp.exists():
        return python
    print(f"installing {name} into {folder}", file=sys.stderr, flush=True)
    _run(sys.executable, "-m", "venv", "--clear", str(folder))
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    _run(str(python), *pip, *requirements)
    stamp.touch()
    return python


def _run(*command: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=INSTALL_S
        )
    except subprocess.TimeoutExpired as error:
        raise PeerMissingError(f"not installed within {INSTALL_S:.0f} s") from error
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or ["no word"]
        raise PeerMissingError(words[-1][:300])
