"""Files that a power cut leaves whole: real files, real failures, real kills."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from secateur_agent.adapters.files import storage_error, write_atomically
from secateur_agent.errors import AgentError, PermanentError, TransientError
from secateur_protocols.ota import ReasonCode

WRITER = """
import sys
from pathlib import Path
from secateur_agent.adapters.files import write_atomically
path = Path(sys.argv[1])
print("ready", flush=True)
while True:
    for letter in b"ab":
        write_atomically(path, bytes([letter]) * 300_000)
"""


def test_a_write_replaces_what_was_there_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "record"
    for content in (b"old", b"new", b""):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_bytes_and_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "record"
    write_atomically(path, b"old")
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from secateur_agent.adapters.files import write_atomically\n"
        "from secateur_agent.errors import AgentError\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    write_atomically(Path(sys.argv[1]), b'x' * 5000)\n"
        "except AgentError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert "record" in done.stdout
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_an_agent_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(AgentError):
        write_atomically(tmp_path / "file" / "record", b"new")


def test_a_kill_at_any_moment_leaves_one_content_whole(tmp_path: Path) -> None:
    path = tmp_path / "record"
    for _ in range(15):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(random.uniform(0.0, 0.05))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        if path.exists():
            assert path.read_bytes() in {b"a" * 300_000, b"b" * 300_000}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_is_final_until_somebody_makes_room(number: int) -> None:
    error = storage_error(OSError(number, os.strerror(number)), Path("/x/blob"))
    assert isinstance(error, PermanentError)
    assert error.reason is ReasonCode.NO_SPACE
    assert "blob" in str(error)


def test_another_failure_may_pass() -> None:
    assert isinstance(storage_error(OSError(errno.EIO, "I/O"), Path("/x/blob")), TransientError)
