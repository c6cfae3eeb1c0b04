"""What KServe runs, and its server: the arithmetic of the benchmark's Triton model, in KServe's own terms."""

import logging

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.logging import logger
from kserve.model_server import args
from prometheus_client import start_http_server


class Identity(Model):
    """Answers Y with what X holds."""

    async def predict(self, payload: InferRequest, headers: dict[str, str] | None = None) -> InferResponse:  # noqa: ARG002  KServe's signature
        x = payload.inputs[0].as_numpy()
        y = InferOutput("Y", list(x.shape), "FP32")
        y.set_data_from_numpy(x)
        return InferResponse(payload.id, self.name, [y])


if __name__ == "__main__":
    model = Identity(args.model_name)
    model.ready = True
    server = ModelServer()
    logger.setLevel(logging.WARNING)  # by default it writes a line for each call
    # with several workers it answers /metrics from another process than the one that serves gRPC
    start_http_server(args.http_port + 1, "127.0.0.1")
    server.start([model])
