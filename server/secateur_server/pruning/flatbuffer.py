"""The one door to ``.tflite``: read, check, write."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from secateur_server.errors import InputError
from secateur_server.pruning import checking

Tree = Any
"""A generated object of the schema; the generated code has no types."""

ALIGNMENT = 16
"""Of every buffer, bytes: engines read constants in place, in vectors of so many."""

OUTSIDE = 1
"""Where `Tree` says that a buffer is behind the flatbuffer; the schema's offsets are larger."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file that can be read.

    Attributes:
        content: Its bytes, unchanged.
        refusal: Why the engine does not run it; empty: it does.
        shapes: Of tensors of which the file does not tell the shape that they have.
    """

    path: Path
    content: bytes
    refusal: str = ""
    shapes: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    def tree(self) -> Tree:
        """Parse it into a fresh object tree, free to be edited.

        What stands behind the flatbuffer is fetched into it, and marked `OUTSIDE`. The
        shapes that the file does not tell stand beside it, as ``shapes``: written into it
        they would change how an engine treats a tensor of any size.
        """
        tree = schema.ModelT.InitFromPackedBuf(self.content, 0)
        for buffer in tree.buffers or ():
            if buffer.offset > OUTSIDE:
                buffer.data = self._outside(buffer.offset, buffer.size)
                buffer.offset = OUTSIDE
        for operator in _operators(tree):
            if operator.largeCustomOptionsOffset > OUTSIDE:
                at, size = operator.largeCustomOptionsOffset, operator.largeCustomOptionsSize
                operator.outside = self._outside(at, size)
        tree.shapes = self.shapes
        return tree

    def _outside(self, offset: int, size: int) -> Any:  # noqa: ANN401 - an array of bytes
        return np.frombuffer(self.content, np.uint8, size, offset)


def read_model(path: Path, *, must_run: bool = True) -> Source:
    """Read a ``.tflite`` file.

    It is first opened in a process of its own: a damaged flatbuffer can crash an engine.

    Args:
        path: The file.
        must_run: Whether to refuse what the engine does not run.

    Raises:
        InputError: Missing, not a ``.tflite`` file, damaged, or refused.
    """
    try:
        with path.open("rb") as file:
            head = file.read(8)
            if head[4:] != b"TFL3":
                raise InputError(f"{path} is not a .tflite file")
            content = head + file.read()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    verdict = checking.check(path)
    if verdict.damage:
        raise InputError(f"{path} is damaged: {verdict.damage}")
    if verdict.refusal and must_run:
        raise InputError(f"{path}: the engine does not run it: {verdict.refusal}")
    return Source(path, content, verdict.refusal, verdict.shapes)


def write_model(tree: Tree) -> bytes:
    """Pack an object tree into the bytes of a ``.tflite`` file.

    Buffers are aligned; what is marked `OUTSIDE` goes behind the flatbuffer.
    """
    tail = _Tail(ALIGNMENT)
    content = _pack(tree, tail)
    if not tail.parts:
        return content
    # Offsets are of fixed width: the flatbuffer stays as long as it is with any of them.
    tail = _Tail(len(content))
    return b"".join((_pack(tree, tail), *tail.parts))


@dataclass(slots=True)
class _Tail:
    """What stands behind the flatbuffer, from ``end`` on."""

    end: int
    parts: list[bytes] = field(default_factory=list)

    def add(self, data: Any) -> int:  # noqa: ANN401 - an array of bytes
        """Give the offset of what is added."""
        content = np.asarray(data, np.uint8).tobytes()
        self.parts += [bytes(-self.end % ALIGNMENT), content]
        offset = self.end + len(self.parts[-2])
        self.end = offset + len(content)
        return offset


@dataclass(frozen=True, slots=True)
class _Aligned:
    """A buffer that packs itself aligned, which the generated code does not do."""

    buffer: Tree

    def Pack(self, builder: Any) -> Any:  # noqa: ANN401, N802 - called by generated code
        if self.buffer.data is not None:
            builder.Prep(ALIGNMENT, len(self.buffer.data))
        return self.buffer.Pack(builder)


def _pack(tree: Tree, tail: _Tail) -> bytes:
    for operator in _operators(tree):
        if hasattr(operator, "outside"):
            operator.largeCustomOptionsOffset = tail.add(operator.outside)
    laid = copy.copy(tree)
    laid.buffers = [_Aligned(_placed(each, tail)) for each in tree.buffers]
    builder = flatbuffers.Builder(1024)
    builder.Finish(laid.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _placed(buffer: Tree, tail: _Tail) -> Tree:
    if buffer.offset != OUTSIDE or buffer.data is None:
        return buffer
    placed = schema.BufferT()
    placed.offset, placed.size = tail.add(buffer.data), len(buffer.data)
    return placed


def _operators(tree: Tree) -> Iterable[Tree]:
    for subgraph in tree.subgraphs or ():
        yield from subgraph.operators or ()
