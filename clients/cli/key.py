"""key: who may call, and as whom."""

from __future__ import annotations

from datetime import UTC
from typing import Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from clients.cli.pages import every
from clients.cli.session import Session, session
from clients.cli.watching import Watch, look
from penstock.routing.v1 import access_service_pb2 as pb
from penstock.routing.v1.api_key_pb2 import ApiKey

app = typer.Typer(help="Who may call, and as whom.", no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(metavar="ID", help="its id in `penstock key list`", show_default=False)]


@app.command()
def create(
    context: typer.Context,
    tenant: Annotated[str, typer.Argument(help="who pays", show_default=False)],
    principal: Annotated[str, typer.Argument(help="the person or program that calls", show_default=False)],
    role: Annotated[
        list[str], typer.Option(help="caller, engineer, approver, billing, urgent or admin; several times")
    ] = ["caller"],
    description: Annotated[str, typer.Option(help="for people")] = "",
) -> None:
    """Make a key. It is shown this once."""
    at = session(context)
    wanted = ApiKey(tenant=tenant, principal=principal, roles=role, description=description)
    answer = at.penstock.access.CreateApiKey(pb.CreateApiKeyRequest(api_key=wanted))
    # whole, however narrow the terminal: it is copied
    at.console.print(answer.key, soft_wrap=True)
    made = answer.api_key
    at.console.print(f"Key {made.id} of {made.tenant}/{made.principal}: {', '.join(made.roles)}.")
    at.console.print(
        "The key is shown this once and kept nowhere: copy it now. `--api-key` or PENSTOCK_API_KEY sends it."
    )


@app.command("list")
def list_keys(
    context: typer.Context,
    tenant: Annotated[str, typer.Option(help="only this tenant's")] = "",
    watch: Watch = False,
) -> None:
    """Every key, revoked ones too; never the keys themselves."""
    at = session(context)

    def ask() -> list[ApiKey]:
        return list(every(at.penstock.access.ListApiKeys, pb.ListApiKeysRequest(tenant=tenant), "api_keys"))

    for found in look(at, ask, on=watch):
        _show(at, found, f"{tenant or 'Nobody'} has no key yet: `penstock key create TENANT PRINCIPAL`.")


@app.command()
def get(context: typer.Context, key_id: KeyId) -> None:
    """What is known of a key."""
    at = session(context)
    _tell(at, at.penstock.access.GetApiKey(pb.GetApiKeyRequest(id=key_id)).api_key)


@app.command()
def revoke(context: typer.Context, key_id: KeyId) -> None:
    """End a key, for good: calls with it are then refused."""
    at = session(context)
    ended = at.penstock.access.RevokeApiKey(pb.RevokeApiKeyRequest(id=key_id)).api_key
    at.console.print(f"key {ended.id} of {ended.tenant}/{ended.principal} is {_state(ended)}")


def _tell(at: Session, key: ApiKey) -> None:
    rows = [
        ("id", key.id),
        ("tenant", key.tenant),
        ("principal", key.principal),
        ("roles", ", ".join(key.roles)),
        ("created", f"{_moment(key.create_time)} by {key.creator}"),
        ("state", _state(key)),
    ]
    at.table(("", ""), rows + ([("description", key.description)] if key.description else []), "")


def _show(at: Session, keys: list[ApiKey], empty: str) -> None:
    rows = [
        (k.id, k.tenant, k.principal, ", ".join(k.roles), _moment(k.create_time), _state(k), k.description)
        for k in keys
    ]
    at.table(("id", "tenant", "principal", "roles", "created", "state", "description"), rows, empty)


def _state(key: ApiKey) -> str:
    return f"revoked {_moment(key.revoke_time)} by {key.revoker}" if key.HasField("revoke_time") else "good"


def _moment(stamp: Timestamp) -> str:
    return stamp.ToDatetime(tzinfo=UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
