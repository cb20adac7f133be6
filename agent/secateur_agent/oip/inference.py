"""The body of an inference request, and that of its response.

Source: Open Inference Protocol, "Inference Request JSON Object" and "Inference Response JSON
Object"; its binary tensor data extension (``binary_data_size``, ``binary_data``,
``binary_data_output``, ``Inference-Header-Content-Length``).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from secateur_agent.engine import Tensor
from secateur_agent.oip.tensors import (
    bad,
    datatype_of,
    dtype_of,
    read_binary,
    read_json,
    shape_of,
    write_binary,
)

MAX_TENSORS = 64
"""Inputs, or outputs, of one request."""

MAX_ID_CHARACTERS = 256

_NOT_SUPPORTED = ("shared_memory_region", "classification")


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What a caller wants inferred.

    Attributes:
        inputs: By name.
        outputs: Wanted names, and whether as raw bytes. ``None``: all of them, each as
            ``is_binary`` says.
    """

    id: str
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, bool] | None
    is_binary: bool


def parse_request(body: bytes | bytearray, json_bytes: int | None) -> InferRequest:
    """Read a request's body; tensors are views of it.

    Args:
        body: As it came.
        json_bytes: Where its JSON ends. ``None``: all is JSON.

    Raises:
        RequestError: It is none.
    """
    whole = memoryview(body)
    document = _document(bytes(whole[:json_bytes]))
    parameters = _parameters(document, "the request")
    is_binary = _flag(parameters, "binary_data_output", default=False)
    rest = whole[len(whole) if json_bytes is None else json_bytes :]
    return InferRequest(
        id=_id(document),
        inputs=_inputs(document, rest),
        outputs=_outputs(document, is_binary=is_binary),
        is_binary=is_binary,
    )


def render_response(
    answer: Mapping[str, Any], outputs: Sequence[tuple[str, Tensor, bool]]
) -> tuple[bytes, int | None]:
    """Write a response's body.

    Args:
        answer: Its members but ``outputs``.
        outputs: Name, values, and whether as raw bytes.

    Returns:
        The body, and where its JSON ends; ``None``: all is JSON.
    """
    described: list[dict[str, Any]] = []
    raw: list[bytes] = []
    for name, tensor, is_binary in outputs:
        one: dict[str, Any] = {
            "name": name,
            "datatype": datatype_of(tensor.dtype),
            "shape": tensor.shape,
        }
        if is_binary:
            raw.append(write_binary(tensor))
            one["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            one["data"] = tensor.ravel().tolist()
        described.append(one)
    document = json.dumps({**answer, "outputs": described}, separators=(",", ":")).encode()
    return b"".join((document, *raw)), len(document) if raw else None


def _document(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise bad("the body is not JSON") from None
    if not isinstance(document, dict):
        raise bad("the body must be a JSON object")
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _id(document: dict[str, Any]) -> str:
    value = document.get("id", "")
    if not isinstance(value, str) or len(value) > MAX_ID_CHARACTERS:
        raise bad(f"id must be a text of at most {MAX_ID_CHARACTERS} characters")
    return value


def _inputs(document: dict[str, Any], rest: memoryview) -> dict[str, Tensor]:
    inputs: dict[str, Tensor] = {}
    for each in _list(document, "inputs"):
        name = _name(each)
        dtype, shape = dtype_of(each.get("datatype"), name), shape_of(each.get("shape"), name)
        size = _parameters(each, f"input {name}").get("binary_data_size")
        if name in inputs:
            raise bad(f"input {name} is given twice")
        if size is None:
            inputs[name] = read_json(each.get("data"), dtype, shape, name)
            continue
        if type(size) is not int or not 0 <= size <= len(rest):
            raise bad(f"input {name}: binary_data_size is not what the body holds")
        inputs[name] = read_binary(rest[:size], dtype, shape, name)
        rest = rest[size:]
    if len(rest):
        raise bad(f"{len(rest)} bytes of the body belong to no input")
    return inputs


def _outputs(document: dict[str, Any], *, is_binary: bool) -> dict[str, bool] | None:
    if "outputs" not in document or document["outputs"] == []:
        return None
    wanted = {}
    for each in _list(document, "outputs"):
        name = _name(each)
        parameters = _parameters(each, f"output {name}")
        wanted[name] = _flag(parameters, "binary_data", default=is_binary)
    return wanted


def _list(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = document.get(key)
    if not isinstance(value, list) or not 0 < len(value) <= MAX_TENSORS:
        raise bad(f"{key} must be a list of 1 to {MAX_TENSORS} objects")
    if not all(isinstance(each, dict) for each in value):
        raise bad(f"{key} must be a list of 1 to {MAX_TENSORS} objects")
    return value


def _name(tensor: dict[str, Any]) -> str:
    name = tensor.get("name")
    if not isinstance(name, str):
        raise bad("every input and output has a name")
    return name


def _parameters(holder: dict[str, Any], of: str) -> dict[str, Any]:
    parameters = holder.get("parameters", {})
    if not isinstance(parameters, dict):
        raise bad(f"parameters of {of} must be an object")
    for name in _NOT_SUPPORTED:
        if parameters.get(name):
            raise bad(f"parameter {name} of {of} is not supported")
    return parameters


def _flag(parameters: dict[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise bad(f"{name} must be true or false")
    return value
