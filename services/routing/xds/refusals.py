"""Answers that Envoy gives by itself, as gRPC callers understand them."""

from typing import Any

MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
LARGEST_BODY = 67 * 1024 * 1024
"""A tensor of 64 MiB and what is around it. Envoy's default answers 413 from 1 MiB on."""

OVERWRITE = 2


def header(key: str, value: str, action: int) -> dict[str, Any]:
    """A header to add; `action` is a HeaderAppendAction. One whose value comes out empty is not added."""
    return {"header": {"key": key, "value": value}, "append_action": action}


def refuse(name: str, match: dict[str, Any], http_status: int, grpc_status: int, message: str) -> dict[str, Any]:
    """A route that answers with a gRPC status; `message` may use Envoy's format commands."""
    return {
        "name": name,
        "match": match,
        "direct_response": {
            "status": http_status,
            "body_format": {"text_format_source": {"inline_string": message}},
        },
        "response_headers_to_add": [header("grpc-status", str(grpc_status), OVERWRITE)],
    }
