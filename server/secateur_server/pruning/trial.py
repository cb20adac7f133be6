"""The child of `checking`: reads paths, a line of JSON each, and answers each with another."""

import json
import resource
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from secateur_server.errors import InputError
from secateur_server.pruning.checking import Verdict
from secateur_server.pruning.flatbuffer import Source
from secateur_server.pruning.graph import Graph, read_graph

MEMORY_BYTES = 4 << 30
"""Address space of the child besides copies of the file."""

COPIES = 8
"""Of the file: what parsing, two engines and unpacked weights come to at most."""

INVALID = "not a valid Flatbuffer"
"""What the engine says of bytes whose structure it could not verify."""


def try_model(path: Path, content: bytes) -> Verdict:
    """Verify, parse and run a model. May crash, hang, or take all memory that there is."""
    refusal = ""
    try:
        # The engine verifies the structure: only then is it safe to follow its offsets.
        interpreter = Interpreter(model_content=content, num_threads=1)
    except (ValueError, RuntimeError) as error:
        refusal = _first_line(error)
        if INVALID in refusal:
            return Verdict(damage=refusal)
        interpreter = None
    try:
        graph = read_graph(Source(path, content).tree())
    except InputError as error:
        return Verdict(damage=str(error))
    except Exception as error:  # noqa: BLE001 - generated code raises what the bytes make it
        return Verdict(damage=f"{type(error).__name__} while parsing")
    if interpreter is None:
        return Verdict(refusal=refusal)
    try:
        _run(interpreter)
    except (ValueError, RuntimeError, TypeError) as error:
        return Verdict(refusal=_first_line(error))
    return Verdict(shapes=_shapes(content, graph))


def _run(interpreter: Any) -> None:  # noqa: ANN401 - untyped
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        if np.dtype(detail["dtype"]).kind in "biuf":
            zeros = np.zeros(detail["shape"], detail["dtype"])
            interpreter.set_tensor(detail["index"], zeros)
    interpreter.invoke()


def _shapes(content: bytes, graph: Graph) -> dict[int, tuple[int, ...]]:
    """Ask an engine without delegates: these hide what is inside of them."""
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        plain = Interpreter(
            model_content=content, num_threads=1, experimental_op_resolver_type=resolver
        )
        _run(plain)
    except (ValueError, RuntimeError, TypeError):
        return {}
    seen = {each["index"]: each["shape"] for each in plain.get_tensor_details()}
    found = {
        tensor.index: tuple(int(size) for size in seen[tensor.index])
        for tensor in graph.tensors
        if tensor.index in seen and not tensor.is_constant
    }
    return {k: shape for k, shape in found.items() if shape != graph.tensors[k].shape}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _limit_memory(content_bytes: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = MEMORY_BYTES + COPIES * content_bytes
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def main() -> None:
    """Answer until the parent closes the pipe."""
    for line in sys.stdin:
        path = Path(json.loads(line))
        content = path.read_bytes()
        _limit_memory(len(content))
        try:
            verdict = try_model(path, content)
        except MemoryError:
            verdict = Verdict(damage="it takes too much memory")
        sys.stdout.write(json.dumps(asdict(verdict)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
