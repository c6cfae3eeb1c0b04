"""What a command works with: the client, made when first used, and where to print."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import typer
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table

from penstock_client import Penstock


@dataclass
class Session:
    connect: Callable[[], Penstock]
    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=False))

    @classmethod
    def at(cls, address: str, api_key: str) -> Session:
        """The ingress at `address`, or that of the local stack."""
        port = os.environ.get("PENSTOCK_PORT_INGRESS") or 10000 + int(os.environ.get("PENSTOCK_PORT_OFFSET") or 0)
        where = address or f"localhost:{port}"
        return cls(lambda: Penstock(where, api_key=api_key))

    @cached_property
    def penstock(self) -> Penstock:
        return self.connect()

    def close(self) -> None:
        if "penstock" in self.__dict__:
            self.penstock.close()

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
        """Print rows, or the sentence `empty`."""
        if not rows:
            self.console.print(empty)
            return
        made = Table(*columns, box=None, pad_edge=False, header_style="bold")
        for row in rows:
            made.add_row(*(str(cell) for cell in row))
        self.console.print(made)

    def json(self, message: Message) -> None:
        self.console.print_json(MessageToJson(message, preserving_proto_field_name=True, indent=2))


def session(context: typer.Context) -> Session:
    return context.find_object(Session) or Session.at("", "")
