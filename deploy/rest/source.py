"""Messages, enums and services of a descriptor set by their full names, each with its comment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

Path = tuple[int, ...]
# numbers of fields in descriptor.proto, of which a comment's path is made
MESSAGE, ENUM, SERVICE = 4, 5, 6
FIELD, NESTED, NESTED_ENUM = 2, 3, 4
METHOD, VALUE = 2, 2


@dataclass(frozen=True)
class Message:
    name: str
    described: DescriptorProto
    comment: str
    comments: Mapping[str, str]
    """Of its fields."""

    @property
    def fields(self) -> Iterable[FieldDescriptorProto]:
        return self.described.field


@dataclass(frozen=True)
class Enum:
    name: str
    described: EnumDescriptorProto
    comment: str
    comments: Mapping[str, str]
    """Of its values."""


@dataclass(frozen=True)
class Method:
    service: str
    """Without its package."""
    described: MethodDescriptorProto
    comment: str


@dataclass
class Source:
    messages: dict[str, Message] = field(default_factory=dict[str, Message])
    enums: dict[str, Enum] = field(default_factory=dict[str, Enum])
    methods: list[Method] = field(default_factory=list[Method])
    services: dict[str, str] = field(default_factory=dict[str, str])
    """Comments by name without package."""

    @classmethod
    def of(cls, described: FileDescriptorSet) -> Source:
        source = cls()
        for file in described.file:
            source._add(file)
        return source

    def _add(self, file: FileDescriptorProto) -> None:
        said = {tuple(place.path): " ".join(place.leading_comments.split()) for place in file.source_code_info.location}
        for path, name, message in _messages(file):
            of_fields = {f.name: said.get((*path, FIELD, n), "") for n, f in enumerate(message.field)}
            self.messages[name] = Message(name, message, said.get(path, ""), of_fields)
            for n, enum in enumerate(message.enum_type):
                self._add_enum((*path, NESTED_ENUM, n), f"{name}.{enum.name}", enum, said)
        for n, enum in enumerate(file.enum_type):
            self._add_enum((ENUM, n), f"{file.package}.{enum.name}", enum, said)
        for n, service in enumerate(file.service):
            self.services[service.name] = said.get((SERVICE, n), "")
            for m, method in enumerate(service.method):
                comment = said.get((SERVICE, n, METHOD, m), "")
                self.methods.append(Method(service.name, method, comment))

    def _add_enum(self, path: Path, name: str, enum: EnumDescriptorProto, said: Mapping[Path, str]) -> None:
        of_values = {value.name: said.get((*path, VALUE, n), "") for n, value in enumerate(enum.value)}
        self.enums[name] = Enum(name, enum, said.get(path, ""), of_values)


def _messages(file: FileDescriptorProto) -> Iterator[tuple[Path, str, DescriptorProto]]:
    waiting: list[tuple[Path, str, DescriptorProto]] = [
        ((MESSAGE, n), f"{file.package}.{message.name}", message) for n, message in enumerate(file.message_type)
    ]
    while waiting:
        path, name, message = waiting.pop()
        yield path, name, message
        nested = enumerate(message.nested_type)
        waiting += [((*path, NESTED, n), f"{name}.{inner.name}", inner) for n, inner in nested]
