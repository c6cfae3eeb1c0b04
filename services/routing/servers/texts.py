"""What people read of a snapshot's parts: YAML of Envoy's messages and of inputs."""

import json
from collections.abc import Mapping
from typing import Any

import yaml
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

LONGEST_TEXT = 16 * 1024
DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""libyaml's, where it is there: ten times as fast."""


class Texts:
    """`messages` are the types of resources by name (`Cluster`); every other type is an input, kept as JSON."""

    def __init__(self, messages: Mapping[str, type[Message]]) -> None:
        self._messages = messages

    def yaml(self, kind: str, body: bytes) -> str:
        message = self._messages.get(kind)
        written = MessageToJson(message.FromString(body), preserving_proto_field_name=True) if message else body
        return yaml.dump(json.loads(written), Dumper=DUMPER, sort_keys=False, allow_unicode=True, width=120)


def cut(text: str) -> str:
    """At most 16 KiB of it, in whole lines, with a last line that says so."""
    if len(text) <= LONGEST_TEXT:
        return text
    return text[: text.rfind("\n", 0, LONGEST_TEXT) + 1] + f"# cut off: {len(text)} characters in all\n"
