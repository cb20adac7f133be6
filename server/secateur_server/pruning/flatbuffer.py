"""The one door to ``.tflite``: read, check, write."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from secateur_server.errors import InputError

Tree = Any
"""A generated object of the schema; the generated code has no types."""

MAX_BYTES = 2**31 - 1
"""Longest file that a flatbuffer without outside buffers can be."""

CHECK_S = 60.0
"""How long the engine may take to load a file in the check, seconds."""

_CHECK = """
import sys
from ai_edge_litert.interpreter import Interpreter
try:
    Interpreter(model_path=sys.argv[1], num_threads=1).allocate_tensors()
except Exception as error:
    print(str(error).strip().splitlines()[0][:200])
    sys.exit(3)
"""


@dataclass(frozen=True, slots=True)
class Source:
    """A file that the engine loads.

    Attributes:
        content: Its bytes, unchanged.
    """

    path: Path
    content: bytes

    def tree(self) -> Tree:
        """Parse it into a fresh object tree, free to be edited."""
        return schema.ModelT.InitFromPackedBuf(self.content, 0)


def read_model(path: Path) -> Source:
    """Read a ``.tflite`` file and make sure that the engine can load it.

    The first load happens in a process of its own: a damaged flatbuffer can crash it.

    Raises:
        InputError: Missing, not a ``.tflite`` file, or damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > MAX_BYTES or content[4:8] != b"TFL3":
        raise InputError(f"{path} is not a .tflite file")
    _check(path)
    source = Source(path, content)
    try:
        source.tree()
    except Exception as error:  # generated code raises whatever the bytes make it
        raise InputError(f"{path} is damaged: {type(error).__name__} while parsing") from error
    return source


def write_model(tree: Tree) -> bytes:
    """Pack an object tree into the bytes of a ``.tflite`` file."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _check(path: Path) -> None:
    try:
        child = subprocess.run(  # noqa: S603 - our own code
            [sys.executable, "-P", "-c", _CHECK, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=CHECK_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{path}: the engine did not load it in {CHECK_S:.0f} s") from error
    if child.returncode != 0:
        said = child.stdout.decode(errors="replace").strip()
        why = said or f"the engine crashed (exit code {child.returncode})"
        raise InputError(f"{path} is damaged or not for this engine: {why}")
