"""Messages as the REST form of the protocol has them: JSON, and after it the bytes of binary tensors."""

import json
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from services.model_serving.domain.tensors import decode
from services.model_serving.servers.refusal import Refusal, Status
from services.model_serving.servers.rest_request import BINARY_ONLY, Wanted

# tritonclient has no type stubs
Message = Any


def write(answer: Message, wanted: Wanted) -> tuple[bytes, int | None]:
    """The body, and how many bytes of it are JSON: None, where all are. Raises Refusal."""
    said: dict[str, Any] = {"model_name": answer.model_name, "model_version": answer.model_version}
    if answer.id:
        said["id"] = answer.id
    if answer.parameters:
        said["parameters"] = _parameters(answer)
    tensors: list[bytes] = []
    said["outputs"] = [
        _output(output, data, binary=wanted.is_binary(output.name), after=tensors)
        for output, data in zip(answer.outputs, answer.raw_output_contents, strict=True)
    ]
    text = json.dumps(said, separators=(",", ":")).encode()
    binary = any(wanted.is_binary(output.name) for output in answer.outputs)
    return b"".join([text, *tensors]), len(text) if binary else None


def plain(message: Message) -> dict[str, Any]:
    """A message as JSON, with the names of its fields, numbers as numbers and defaults said."""
    said: dict[str, Any] = {}
    for member in message.DESCRIPTOR.fields:
        value = getattr(message, member.name)
        entry = member.message_type
        if entry is not None and entry.GetOptions().map_entry:
            kind = entry.fields_by_name["value"]
            said[member.name] = {str(key): _plain(kind, value[key]) for key in sorted(value)}
        elif member.is_repeated:
            said[member.name] = [_plain(member, item) for item in value]
        elif not member.has_presence or message.HasField(member.name):
            said[member.name] = _plain(member, value)
    return said


def _plain(member: Any, value: Any) -> Any:
    if member.type == FieldDescriptor.TYPE_MESSAGE:
        return plain(value)
    if member.type == FieldDescriptor.TYPE_ENUM:
        return member.enum_type.values_by_number[value].name
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _parameters(of: Message) -> dict[str, Any]:
    return {name: getattr(one, one.WhichOneof("parameter_choice")) for name, one in of.parameters.items()}


def _output(output: Message, data: bytes, *, binary: bool, after: list[bytes]) -> dict[str, Any]:
    parameters = _parameters(output)
    said: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": list(output.shape)}
    if binary:
        parameters["binary_data_size"] = len(data)
        after.append(data)
    else:
        said["data"] = _data(output, data)
    return said | ({"parameters": parameters} if parameters else {})


def _data(output: Message, data: bytes) -> list[Any]:
    ask = "ask for it with binary_data"
    if output.datatype in BINARY_ONLY:
        raise Refusal(Status.INVALID_ARGUMENT, f"output '{output.name}' is {output.datatype}, not for JSON: {ask}")
    values = decode(output.name, output.datatype, list(output.shape), data).array.ravel().tolist()
    if output.datatype != "BYTES":
        return values
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError:
        raise Refusal(Status.INVALID_ARGUMENT, f"output '{output.name}' is no UTF-8, not for JSON: {ask}") from None
