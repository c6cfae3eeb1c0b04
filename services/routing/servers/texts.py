"""What people read of a snapshot's parts: YAML of Envoy's messages and of inputs."""

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

LONGEST_TEXT = 16 * 1024
KEY_HASH = re.compile(r"key [0-9a-f]{64}\b")
DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""libyaml's, where it is there: ten times as fast."""


class Texts:
    """`messages` are the types of resources by name (`Cluster`); every other type is an input, kept as JSON.

    The hashes of keys are left out: nobody needs them to read what a snapshot says.
    """

    def __init__(self, messages: Mapping[str, type[Message]]) -> None:
        self._messages = messages

    def yaml(self, kind: str, body: bytes) -> str:
        message = self._messages.get(kind)
        shown = body if message is None else _shown(message.FromString(body))
        return yaml.dump(json.loads(shown), Dumper=DUMPER, sort_keys=False, allow_unicode=True, width=120)


def _shown(message: Message) -> str:
    return KEY_HASH.sub("key …", MessageToJson(message, preserving_proto_field_name=True))


def cut(text: str) -> str:
    """At most 16 KiB of it, in whole lines, with a last line that says so."""
    if len(text) <= LONGEST_TEXT:
        return text
    return text[: text.rfind("\n", 0, LONGEST_TEXT) + 1] + f"# cut off: {len(text)} characters in all\n"
