"""From a request to its response: which path does what.

    GET  /v2/health/live                       the process runs
    GET  /v2/health/ready                      every model can answer
    GET  /v2                                   what this server is
    GET  /v2/models/{model}[/versions/{v}]     inputs and outputs of the artifact that serves
    GET  /v2/models/{model}[/versions/{v}]/ready
    POST /v2/models/{model}[/versions/{v}]/infer
    GET  /metrics                              for Prometheus

Source: Open Inference Protocol, "HTTP/REST".
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from secateur_agent.engine import TensorInfo
from secateur_agent.inference.caller import ask, objection
from secateur_agent.inference.frame import Answered, Unanswered
from secateur_agent.inference.lane import Lane, Serving
from secateur_agent.oip.errors import RequestError
from secateur_agent.oip.head import Head
from secateur_agent.oip.inference import InferRequest, parse_request, render_response
from secateur_agent.oip.tensors import bad, datatype_of

ANSWER_S = 30.0
"""How long a request may wait for its answer, seconds: for frames before it, mostly."""

TRIES = 3
"""How often a request is asked again because a swap changed the input's type meanwhile."""

JSON_TYPE = "application/json"
BINARY_TYPE = "application/octet-stream"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Response:
    """What goes back.

    Attributes:
        json_bytes: Where the body's JSON ends and its tensors begin. ``None``: no tensors.
    """

    status: HTTPStatus
    body: bytes = b""
    content_type: str = JSON_TYPE
    json_bytes: int | None = None


def failure(error: RequestError) -> Response:
    """Say an error as the protocol does."""
    return Response(error.status, json.dumps({"error": str(error)}).encode())


class Router:
    """Answers requests from the lanes of one process. Used by many threads."""

    def __init__(self, lanes: Mapping[str, Lane], metrics: Callable[[], str]) -> None:
        self._lanes = lanes
        self._metrics = metrics

    def route(self, head: Head, body: bytes | bytearray) -> Response:
        """Do what a request asks for.

        Raises:
            RequestError: It cannot be done; `failure` says so to the caller.
        """
        match head.method, head.path:
            case "POST", ("v2", "models", model, "infer"):
                return self._infer(self._lane(model), None, head, body)
            case "POST", ("v2", "models", model, "versions", version, "infer"):
                return self._infer(self._lane(model), version, head, body)
            case "GET", ("v2", "models", *path):
                return self._tell_model(tuple(path))
            case "GET", path:
                return self._tell_server(path)
            case _:
                problem = f"cannot {head.method} this path"
                raise RequestError(HTTPStatus.METHOD_NOT_ALLOWED, problem)

    def _tell_server(self, path: tuple[str, ...]) -> Response:
        match path:
            case ("v2",):
                return _document(_server())
            case ("v2", "health", "live"):
                return Response(HTTPStatus.OK)
            case ("v2", "health", "ready"):
                return _readiness(all(lane.serving for lane in self._lanes.values()))
            case ("metrics",):
                return Response(HTTPStatus.OK, self._metrics().encode(), METRICS_TYPE)
            case _:
                raise _no_such_path()

    def _tell_model(self, path: tuple[str, ...]) -> Response:
        match path:
            case (model,):
                return _document(_metadata(model, _serving(self._lane(model), None)))
            case (model, "versions", version):
                return _document(_metadata(model, _serving(self._lane(model), version)))
            case (model, "ready"):
                return _readiness(self._lane(model).serving is not None)
            case (model, "versions", version, "ready"):
                serving = self._lane(model).serving
                return _readiness(serving is not None and serving.load.version == version)
            case _:
                raise _no_such_path()

    def _lane(self, model: str) -> Lane:
        lane = self._lanes.get(model)
        if lane is None:
            raise RequestError(HTTPStatus.NOT_FOUND, f"no model {model!r} on this device")
        return lane

    def _infer(
        self, lane: Lane, version: str | None, head: Head, body: bytes | bytearray
    ) -> Response:
        request = parse_request(body, head.json_bytes)
        for _ in range(TRIES):
            serving = _serving(lane, version)
            answered = _ask(lane, serving, request)
            if answered is not None:
                return _respond(lane, request, answered)
        problem = "the model's input keeps changing: ask again"
        raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, problem)


def _ask(lane: Lane, serving: Serving, request: InferRequest) -> Answered | None:
    """Let the lane answer; ``None``: an artifact did that takes another type of input."""
    info = serving.model.inputs[0]
    sample = _sample(info, request)
    outcome = ask(lane, sample, ANSWER_S)
    if isinstance(outcome, Unanswered):
        status = HTTPStatus.SERVICE_UNAVAILABLE
        if not outcome.is_dropped:
            status = HTTPStatus.INTERNAL_SERVER_ERROR
        raise RequestError(status, outcome.problem)
    # Codes mean something else to another type of input; real numbers never do.
    if sample.dtype == info.dtype != outcome.model.inputs[0].dtype:
        return None
    return outcome


def _sample(info: TensorInfo, request: InferRequest) -> Any:  # noqa: ANN401 - a Tensor of any type
    if len(request.inputs) != 1 or info.name not in request.inputs:
        raise bad(f"the model has one input, {info.name!r}")
    sample = request.inputs[info.name]
    if sample.shape != info.shape:
        raise bad(f"input {info.name}: shape must be {list(info.shape)}")
    if sample.dtype != info.dtype and not (info.scale and sample.dtype == "float32"):
        also = " or FP32" if info.scale else ""
        raise bad(f"input {info.name}: datatype must be {datatype_of(info.dtype)}{also}")
    problem = objection(info, sample)
    if problem is not None:
        raise bad(f"input {info.name}: {problem}")
    return sample


def _respond(lane: Lane, request: InferRequest, answered: Answered) -> Response:
    load = answered.load
    answer: dict[str, Any] = {
        "model_name": lane.spec.model,
        "model_version": load.version,
        "parameters": {"level": load.level, "digest": load.digest},
    }
    if request.id:
        answer["id"] = request.id
    # Who speaks in real numbers is answered in real numbers, whatever precision serves.
    is_real = next(iter(request.inputs.values())).dtype.kind == "f"
    infos = zip(answered.model.outputs, answered.outputs, strict=True)
    given = {info.name: info.decode(codes) if is_real else codes for info, codes in infos}
    wanted = request.outputs or dict.fromkeys(given, request.is_binary)
    for name in wanted:
        if name not in given:
            raise bad(f"the model has no output {name!r}, only {', '.join(given)}")
    outputs = [(name, given[name], is_binary) for name, is_binary in wanted.items()]
    body, json_bytes = render_response(answer, outputs)
    content_type = JSON_TYPE if json_bytes is None else BINARY_TYPE
    return Response(HTTPStatus.OK, body, content_type, json_bytes)


def _serving(lane: Lane, version: str | None) -> Serving:
    serving = lane.serving
    if serving is None:
        problem = f"model {lane.spec.model!r} is not ready: no artifact serves yet"
        raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, problem)
    if version is not None and version != serving.load.version:
        problem = f"version {version!r} does not serve, {serving.load.version!r} does"
        raise RequestError(HTTPStatus.NOT_FOUND, problem)
    return serving


def _no_such_path() -> RequestError:
    return RequestError(HTTPStatus.NOT_FOUND, "no such path")


def _server() -> dict[str, Any]:
    # Here alone: it brings 60 modules, and few callers ask.
    import importlib.metadata  # noqa: PLC0415 - see above

    version = importlib.metadata.version("secateur")
    return {"name": "secateur", "version": version, "extensions": ["binary_tensor_data"]}


def _metadata(model: str, serving: Serving) -> dict[str, Any]:
    return {
        "name": model,
        "versions": [serving.load.version],
        "platform": "tflite",
        "inputs": [_tensor(info) for info in serving.model.inputs],
        "outputs": [_tensor(info) for info in serving.model.outputs],
    }


def _tensor(info: TensorInfo) -> dict[str, Any]:
    tensor: dict[str, Any] = {
        "name": info.name,
        "datatype": datatype_of(info.dtype),
        "shape": info.shape,
    }
    if info.scale:
        tensor["parameters"] = {"scale": info.scale, "zero_point": info.zero_point}
    return tensor


def _document(document: dict[str, Any]) -> Response:
    return Response(HTTPStatus.OK, json.dumps(document).encode())


def _readiness(is_ready: bool) -> Response:  # noqa: FBT001 - the only argument
    return Response(HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE)
