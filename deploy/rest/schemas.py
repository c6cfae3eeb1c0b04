"""Messages as JSON schemas, as the transcoder writes and reads them."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from deploy.rest.source import Message, Source

Schema = Mapping[str, Any]
Kind = FieldDescriptorProto

NUMBER: Schema = {
    "oneOf": [{"type": "number", "format": "double"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]
}
WHOLE: Schema = {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}
SCALARS: Mapping[int, Schema] = {
    Kind.TYPE_DOUBLE: NUMBER,
    Kind.TYPE_FLOAT: NUMBER,
    Kind.TYPE_INT64: WHOLE,
    Kind.TYPE_UINT64: WHOLE,
    Kind.TYPE_INT32: {"type": "integer", "format": "int32"},
    Kind.TYPE_UINT32: {"type": "integer", "format": "int64", "minimum": 0},
    Kind.TYPE_BOOL: {"type": "boolean"},
    Kind.TYPE_STRING: {"type": "string"},
    Kind.TYPE_BYTES: {"type": "string", "format": "byte"},
}
WELL_KNOWN: Mapping[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?s$"},
    "google.protobuf.FieldMask": {"type": "string"},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Value": {},
}
REQUIRED = "Required."


class Schemas:
    """Collects each message and enum that is asked about, once, under its name without package."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.found: dict[str, Schema] = {}

    def reference(self, name: str, *, strict: bool = False) -> Schema:
        """To the schema of a message; `strict`: it takes no other fields."""
        message = self._source.messages[name]
        short = _short(name)
        if short not in self.found:
            self.found[short] = {}  # before its fields, which may lead back to it
            self.found[short] = self._object(message, strict=strict)
        return {"$ref": f"#/components/schemas/{short}"}

    def of_field(self, message: Message, field: FieldDescriptorProto) -> Schema:
        schema = self._values(field)
        comment = message.comments[field.name]
        if "$ref" in schema:
            return {"allOf": [schema], "description": comment}
        return {**schema, "description": comment}

    def _object(self, message: Message, *, strict: bool) -> Schema:
        properties = {field.name: self.of_field(message, field) for field in message.fields}
        schema: dict[str, Any] = {"type": "object", "description": message.comment, "properties": properties}
        required = [name for name, comment in message.comments.items() if REQUIRED in comment]
        if required:
            schema["required"] = required
        if strict:
            schema["additionalProperties"] = False
        return schema

    def _values(self, field: FieldDescriptorProto) -> Schema:
        """Of all that the field holds."""
        if field.label != Kind.LABEL_REPEATED:
            return self._value(field)
        name = field.type_name.removeprefix(".")
        entry = self._source.messages.get(name)
        if entry is not None and entry.described.options.map_entry:
            return {"type": "object", "additionalProperties": self._value(entry.described.field[1])}
        return {"type": "array", "items": self._value(field)}

    def _value(self, field: FieldDescriptorProto) -> Schema:
        name = field.type_name.removeprefix(".")
        if field.type == Kind.TYPE_ENUM:
            return self._enum(name)
        if field.type == Kind.TYPE_MESSAGE:
            return WELL_KNOWN[name] if name in WELL_KNOWN else self.reference(name)
        return SCALARS[field.type]

    def _enum(self, name: str) -> Schema:
        enum, short = self._source.enums[name], _short(name)
        values = [f"- `{value}`: {comment}" for value, comment in enum.comments.items()]
        self.found[short] = {
            "type": "string",
            "enum": list(enum.comments),
            "description": "\n".join([enum.comment, "", *values]),
        }
        return {"$ref": f"#/components/schemas/{short}"}


def _short(name: str) -> str:
    """`Deployment.State` of `penstock.model_serving.v1.Deployment.State`."""
    return name.split(".v1.", 1)[-1]
