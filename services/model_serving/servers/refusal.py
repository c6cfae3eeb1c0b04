"""What a caller of the inference protocol is refused with, whichever form its call has."""

import grpc

from services.model_serving.domain.model import MODEL_NAME

Status = grpc.StatusCode


class Refusal(Exception):
    """`headers` say who refused, where somebody did."""

    def __init__(self, code: Status, text: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.headers = headers


def of_call(error: grpc.aio.AioRpcError) -> Refusal:
    """As another has refused it: its own status and text, and its x-penstock-* headers."""
    found = (*(error.initial_metadata() or ()), *(error.trailing_metadata() or ()))
    said = tuple((key, str(value)) for key, value in found if key.startswith("x-penstock-"))
    return Refusal(error.code(), error.details() or "", said)


def invalid(text: str) -> Refusal:
    return Refusal(Status.INVALID_ARGUMENT, text)


def unknown(model: str, version: str) -> Refusal:
    named = f"{model!r} version {version}" if version else f"{model!r}"
    return Refusal(Status.NOT_FOUND, f"Request for unknown model: {named} is not found")


def check_model(model: str, version: str) -> None:
    """Raises Refusal when no model can have the name."""
    if not model:
        raise invalid("model_name is required")
    if not MODEL_NAME.fullmatch(model):
        raise unknown(model, version)


NOT_HERE = {
    "load": "models are deployed by penstock.model_serving.v1.DeploymentService",
    "unload": "deployments are deleted by penstock.model_serving.v1.DeploymentService",
    "memory": "a call may land on any server, so no memory can be shared with it: send tensors in the message",
    "settings": "settings of one server are asked of that server",
}
"""What has no answer that holds for many servers, and why."""


def not_here(what: str) -> Refusal:
    return Refusal(Status.UNIMPLEMENTED, NOT_HERE[what])
