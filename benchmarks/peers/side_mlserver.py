"""What MLServer is told to run: LiteRT, which it has no runtime of its own for."""

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class LiteRt(MLModel):
    """One model, one thread, as the agent runs it."""

    async def load(self) -> bool:
        self._engine = Interpreter(model_path=self.settings.parameters.uri, num_threads=1)
        self._engine.allocate_tensors()
        self._source = self._engine.get_input_details()[0]
        self._sinks = self._engine.get_output_details()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        values = NumpyCodec.decode_input(payload.inputs[0])
        self._engine.set_tensor(self._source["index"], values.astype(self._source["dtype"]))
        self._engine.invoke()
        outputs = [
            NumpyCodec.encode_output(
                sink["name"], np.array(self._engine.get_tensor(sink["index"]))
            )
            for sink in self._sinks
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)
