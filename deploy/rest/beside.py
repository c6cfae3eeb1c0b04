"""What the document says that stands in no proto: errors, keys, and what is served beside the services."""

from collections.abc import Mapping
from typing import Any

Part = Mapping[str, Any]

INFO: Part = {
    "title": "Penstock",
    "version": "v1",
    "license": {"name": "Apache-2.0"},
    "description": (
        "Predictions by name, and what serves them. Fields are named as in the protos; times are RFC 3339, durations"
        " seconds with an `s`, 64-bit whole numbers text. An error is a google.rpc.Status: `code` and `message`, and"
        " among `details` an ErrorInfo with the `reason` and, where fields are to blame, a BadRequest with each."
        " The Open Inference Protocol has a REST form of its own under `/v2`."
    ),
}
SECURITY: list[Part] = [{"key": []}, {"bearer": []}]
ROUTING_KEY: Part = {"$ref": "#/components/parameters/routing_key"}
ERROR: Part = {"$ref": "#/components/responses/error"}

_DETAIL: Part = {
    "type": "object",
    "description": "ErrorInfo: `reason`, `domain`, `metadata`. BadRequest: `field_violations`. RetryInfo: its delay.",
    "required": ["@type"],
    "properties": {
        "@type": {"type": "string"},
        "reason": {"type": "string", "description": "Of penstock.errors.v1.ErrorReason, without its prefix."},
        "domain": {"type": "string"},
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        "field_violations": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "description": {"type": "string"}},
            },
        },
        "retry_delay": {"type": "string"},
    },
}
_STATUS: Part = {
    "type": "object",
    "description": "google.rpc.Status.",
    "required": ["code", "message"],
    "properties": {
        "code": {"type": "integer", "description": "Of google.rpc.Code; the HTTP status follows from it."},
        "message": {"type": "string"},
        "details": {"type": "array", "items": _DETAIL},
    },
}
_HEALTH: Part = {
    "type": "object",
    "required": ["status", "checks"],
    "properties": {
        "status": {
            "type": "string",
            "enum": ["HEALTHY", "DEGRADED", "UNHEALTHY", "UNKNOWN"],
            "description": "DEGRADED: everything is served, with less behind it than there should be.",
        },
        "checks": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "status"],
                "properties": {
                    "name": {"type": "string", "description": "`service/routing`, `server/a`, `models`."},
                    "status": {"type": "string", "enum": ["HEALTHY", "DEGRADED", "UNHEALTHY", "UNKNOWN"]},
                    "message": {"type": "string"},
                    "since": {"type": "string", "format": "date-time"},
                },
            },
        },
    },
}


def _answer(description: str, schema: Part) -> Part:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


COMMON: Mapping[str, Mapping[str, Part]] = {
    "securitySchemes": {
        "key": {"type": "apiKey", "in": "header", "name": "x-penstock-api-key"},
        "bearer": {"type": "http", "scheme": "bearer", "description": "The same key."},
    },
    "parameters": {
        "routing_key": {
            "name": "x-penstock-routing-key",
            "in": "header",
            "description": "Who asks, as experiments split: a user, a flight. Without one the split is at random.",
            "schema": {"type": "string", "maxLength": 1024},
        }
    },
    "responses": {"error": _answer("Not done, and why.", {"$ref": "#/components/schemas/Status"})},
    "schemas": {"Health": _HEALTH, "Status": _STATUS},
}
BESIDE: Mapping[str, Part] = {
    "/health": {
        "get": {
            "operationId": "Health",
            "summary": "How everything is, one entry for each check",
            "description": "No key is needed.",
            "security": [],
            "responses": {
                "200": _answer("HEALTHY or DEGRADED.", {"$ref": "#/components/schemas/Health"}),
                "503": _answer("UNHEALTHY or UNKNOWN.", {"$ref": "#/components/schemas/Health"}),
            },
        }
    },
    "/openapi.json": {
        "get": {
            "operationId": "OpenApi",
            "summary": "This document",
            "security": [],
            "responses": {"200": _answer("An OpenAPI document.", {"type": "object"})},
        }
    },
}
