"""What a command works with: the client, made when first used, and where to print."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import typer
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table

from deploy.local.places import admin_key, default_home
from deploy.local.ports import Ports
from penstock_client import Penstock


def plain(**options: Any) -> Console:
    """A console that shows text as it is: servers' words may have brackets and colons in them."""
    return Console(highlight=False, markup=False, emoji=False, **options)


@dataclass
class Session:
    connect: Callable[[], Penstock]
    console: Console = field(default_factory=plain)
    address: str = ""
    """host:port that `connect` connects to, for messages."""

    @classmethod
    def at(cls, address: str, api_key: str) -> Session:
        """The ingress at `address`, or that of the local stack. Raises BadPort."""
        where = address or f"localhost:{Ports.from_environment(os.environ)['ingress']}"
        key = credential(address, api_key)
        return cls(lambda: Penstock(where, api_key=key), address=where)

    @cached_property
    def penstock(self) -> Penstock:
        return self.connect()

    def close(self) -> None:
        if "penstock" in self.__dict__:
            self.penstock.close()

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
        """Print rows, or the sentence `empty`. Columns of numbers are aligned to the right."""
        if not rows:
            self.console.print(empty)
            return
        made = Table(box=None, pad_edge=False, header_style="bold", show_header=any(columns))
        for index, name in enumerate(columns):
            counts = all(isinstance(row[index], int | float) or row[index] == "" for row in rows)
            # the first names the row, often to be copied: it stays whole
            made.add_column(name, justify="right" if counts else "left", overflow="fold", no_wrap=not index)
        for row in rows:
            made.add_row(*(str(cell) for cell in row))
        self.console.print(made)

    def json(self, message: Message) -> None:
        self.console.print_json(MessageToJson(message, preserving_proto_field_name=True, indent=2))


def session(context: typer.Context) -> Session:
    return context.find_object(Session) or Session.at("", "")


def credential(address: str, named: str) -> str:
    """The key that is named; without one, where no address is named either, the first key of the local stack, if it has
    made one and this user may read it. Nobody else is sent that."""
    key = named
    if not (named or address):
        with suppress(OSError, UnicodeDecodeError):
            key = admin_key(default_home()).read_text("ascii").strip()
    if not (key.isascii() and key.isprintable()):
        raise typer.BadParameter("the API key has characters that cannot be sent: only printable ASCII can")
    return key


def header(text: str, option: str) -> str:
    """The text of an option that travels as a header: gRPC would refuse others in words of its own."""
    if not (text.isascii() and text.isprintable()):
        raise typer.BadParameter(f"{option} {text!r}: only printable ASCII can be sent, no letters with accents")
    return text
