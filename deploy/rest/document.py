"""The OpenAPI document: every method that has a path, and what is served beside them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from deploy.rest.beside import BESIDE, COMMON, ERROR, INFO, ROUTING_KEY, SECURITY
from deploy.rest.schemas import WELL_KNOWN, Schemas
from deploy.rest.source import Method, Source
from libs.roles import ADMIN, INCLUDED, ROLES
from penstock.access.v1.access_pb2 import Role, allow
from penstock.rest.v1.rest_pb2 import json as json_of

HTTP: Any = annotations_pb2.http
VARIABLE = re.compile(r"\{(\w+)(?:=[^}]*)?\}")
PREDICTIONS = "PredictJson"


def document(source: Source) -> Mapping[str, Any]:
    schemas = Schemas(source)
    paths: dict[str, dict[str, Any]] = {}
    for method in source.methods:
        rule: http_pb2.HttpRule = method.described.options.Extensions[HTTP]
        verb: str | None = rule.WhichOneof("pattern")
        if verb is not None:
            path = VARIABLE.sub(r"{\1}", getattr(rule, verb))
            paths.setdefault(path, {})[verb] = _operation(method, rule, verb, source, schemas)
    served = {method.service for method in source.methods if method.described.options.HasExtension(HTTP)}
    return {
        "openapi": "3.0.3",
        "info": INFO,
        "security": SECURITY,
        "tags": [{"name": name, "description": source.services[name]} for name in source.services if name in served],
        "paths": {**{path: paths[path] for path in sorted(paths)}, **BESIDE},
        "components": {**COMMON, "schemas": {**dict(sorted(schemas.found.items())), **COMMON["schemas"]}},
    }


def _operation(method: Method, rule: http_pb2.HttpRule, verb: str, source: Source, schemas: Schemas) -> dict[str, Any]:
    request = source.messages[method.described.input_type.removeprefix(".")]
    in_path = VARIABLE.findall(getattr(rule, verb))
    parameters: list[Mapping[str, Any]] = [*_parameters(method, in_path, rule.body, source, schemas)]
    operation: dict[str, Any] = {
        "operationId": method.described.name,
        "tags": [method.service],
        "summary": method.comment.split(". ")[0].rstrip("."),
        "description": "\n\n".join(filter(None, [method.comment, _roles(method)])),
    }
    if method.described.name == PREDICTIONS:
        parameters.append(ROUTING_KEY)
    if parameters:
        operation["parameters"] = parameters
    if rule.body:
        body = next(field for field in request.fields if field.name == rule.body)
        schema = schemas.reference(body.options.Extensions[json_of], strict=True)
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    answer = schemas.reference(method.described.output_type.removeprefix("."))
    content = {"application/json": {"schema": answer}}
    operation["responses"] = {"200": {"description": "The answer.", "content": content}, "default": ERROR}
    return operation


def _parameters(
    method: Method, in_path: list[str], body: str, source: Source, schemas: Schemas
) -> Iterator[dict[str, Any]]:
    request = source.messages[method.described.input_type.removeprefix(".")]
    for field in request.fields:
        if field.name == body:
            continue
        if not _is_plain(field):
            raise ValueError(f"{request.name}.{field.name} cannot be a parameter of a path")
        schema = dict(schemas.of_field(request, field))
        parameter: dict[str, Any] = {"name": field.name, "in": "query", "description": schema.pop("description")}
        if field.name in in_path:
            parameter |= {"in": "path", "required": True}
        yield {**parameter, "schema": schema}


def _is_plain(field: FieldDescriptorProto) -> bool:
    return field.type != field.TYPE_MESSAGE or field.type_name.removeprefix(".") in WELL_KNOWN


def _roles(method: Method) -> str:
    said = {Role.Name(role).removeprefix("ROLE_").lower() for role in method.described.options.Extensions[allow]}
    if "any" in said:
        return "Any role may call."
    may = said.union({ADMIN}, *(INCLUDED.get(role, ()) for role in said))
    return f"Roles: {', '.join(role for role in ROLES if role in may)}."
