"""Speaks with a server through NVIDIA's client, in the client's own environment.

Usage: triton_caller.py HOST:PORT SAMPLES.npy ; prints one JSON object.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException


def main() -> None:
    """Use every part of the protocol once, and infer every sample in three ways."""
    client = triton.InferenceServerClient(url=sys.argv[1])
    samples = np.load(sys.argv[2])
    metadata = client.get_model_metadata("digits")
    taken, given = metadata["inputs"][0], metadata["outputs"][0]

    def infer(
        sample: np.ndarray[Any, Any], *, sent_binary: bool, got_binary: bool
    ) -> list[float]:
        value = triton.InferInput(taken["name"], taken["shape"], taken["datatype"])
        value.set_data_from_numpy(sample.reshape(taken["shape"]), binary_data=sent_binary)
        wanted = triton.InferRequestedOutput(given["name"], binary_data=got_binary)
        result = client.infer("digits", [value], outputs=[wanted], request_id="r1")
        if result.get_response()["id"] != "r1":
            raise ValueError("the response is to another request")
        values: list[float] = result.as_numpy(given["name"]).ravel().tolist()
        return values

    def refusal(call: Callable[..., object], *arguments: object) -> list[str] | None:
        try:
            call(*arguments)
        except InferenceServerException as error:
            return [error.status(), error.message()]
        return None

    wrong = triton.InferInput(taken["name"], [1], "FP32")
    wrong.set_data_from_numpy(np.zeros(1, np.float32))
    pairs = [(True, True), (True, False), (False, True), (False, False)]
    document = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready("digits"),
        "other_ready": client.is_model_ready("other"),
        "server": client.get_server_metadata(),
        "answers": {
            f"{sent}-{got}": [infer(s, sent_binary=sent, got_binary=got) for s in samples]
            for sent, got in pairs
        },
        "unknown_model": refusal(client.get_model_metadata, "other"),
        "wrong_shape": refusal(client.infer, "digits", [wrong]),
    }
    json.dump(document, sys.stdout)


main()
