"""Issuers of tokens as people name them, in a file: from there to callers of routing through the ingress."""

import json
import os
import subprocess
import sys
import urllib.request

import grpc
import pytest

from libs.statuses import reason_of
from penstock.routing.v1 import routing_service_pb2 as pb
from penstock.routing.v1.route_pb2 import Route
from tests.integration.routing.conftest import PARTS, mesh_of
from tests.polling import eventually_async
from tests.tokens import Signer, bearer, key_set

ISSUER = "https://login.example"
FIRST, SECOND = Signer("first"), Signer("second")
NAMES = ("total_listeners_draining", "listener_modified", "listener_removed", "listener_in_place_updated")


def say(folder, *signers: Signer) -> str:
    """The file of issuers, with one, and its keys in a file of their own. Returns its path."""
    (folder / "keys.json").write_text(key_set(*signers))
    issuer = {"issuer": ISSUER, "audiences": ["penstock"], "jwks": "keys.json", "claims": {"tenant": "org.id"}}
    (folder / "issuers.yaml").write_text(json.dumps({"issuers": [issuer]}))
    return str(folder / "issuers.yaml")


def said(signer: Signer, *roles: str):
    return [bearer(signer.token(ISSUER, sub="ann@acme.example", org={"id": "acme"}, roles=list(roles)))]


@pytest.fixture
async def own_mesh(tmp_path):
    named = {"PENSTOCK_AUTH": "on", "PENSTOCK_JWT_PROVIDERS": say(tmp_path, FIRST)}
    async with mesh_of(tmp_path / "a mesh", (*PARTS, "keeper"), named) as mesh:
        yield mesh


async def refusal(call):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value.code(), reason_of(raised.value)


def listeners(mesh):
    with urllib.request.urlopen(f"http://{mesh.stack.address('envoy_admin')}/stats?filter=listener_manager") as answer:
        found = dict(line.split(": ") for line in answer.read().decode().splitlines())
    return [found[f"listener_manager.{name}"] for name in NAMES]


async def test_a_file_lets_callers_in_and_another_key_in_it_takes_the_first_ones_place(own_mesh, tmp_path):
    routing, asked = own_mesh.routing, pb.ListRoutesRequest()

    def lists(signer, *roles):
        return routing.ListRoutes(asked, metadata=said(signer, *roles))

    await eventually_async(lambda: lists(FIRST, "admin"), within=30)
    created = pb.CreateRouteRequest(route=Route(model="m", default_version="1"))
    for roles in ((), ("king",), ("caller",)):
        refused = await refusal(routing.CreateRoute(created, metadata=said(FIRST, *roles)))
        assert refused == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED")
    assert await refusal(lists(SECOND, "admin")) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")
    before = listeners(own_mesh)

    (tmp_path / "keys.json").write_text("half of a fi")
    say(tmp_path, SECOND)
    await eventually_async(lambda: lists(SECOND, "admin"), within=30)
    assert await refusal(lists(FIRST, "admin")) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")
    assert listeners(own_mesh) == before

    newest = (await routing.ListSnapshots(pb.ListSnapshotsRequest(), metadata=said(SECOND, "admin"))).snapshots[0]
    assert f"issuer of tokens {ISSUER}: its keys changed" in newest.reasons


async def test_an_envoy_that_starts_while_routing_is_down_knows_whose_tokens_are_taken(own_mesh):
    stack, asked = own_mesh.stack, pb.ListRoutesRequest()
    await eventually_async(lambda: own_mesh.routing.ListRoutes(asked, metadata=said(FIRST, "admin")), within=30)
    with stack.held_down("routing"):
        stack.restart("envoy")

        async def let_in_as_before():
            calls = [own_mesh.routing.ListRoutes(asked, metadata=said(signer, "admin")) for signer in (FIRST, SECOND)]
            return [(await refusal(call))[0] for call in calls] == [
                grpc.StatusCode.UNAVAILABLE,  # it was let in, and nobody is there
                grpc.StatusCode.UNAUTHENTICATED,
            ]

        await eventually_async(let_in_as_before, within=30)
    await eventually_async(lambda: own_mesh.routing.ListRoutes(asked, metadata=said(FIRST, "admin")), within=30)


def test_a_start_with_a_wrong_file_says_all_that_is_wrong_with_it(tmp_path):
    file = tmp_path / "issuers.yaml"
    file.write_text("issuers: [{issuer: a b, jwks: {keys: [{kty: oct, k: c2VjcmV0}]}}]")
    told = {
        "PENSTOCK_POSTGRES_DSN": "postgresql://nobody@127.0.0.1:1/none",
        "PENSTOCK_MESH_ADDRESS": "127.0.0.1:1",
        "PENSTOCK_STATE_DIR": str(tmp_path),
        "PENSTOCK_AUTH": "on",
        "PENSTOCK_LISTEN": "127.0.0.1:0",
        "PENSTOCK_JWT_PROVIDERS": str(file),
    }
    command = [sys.executable, "-m", "services.routing"]
    done = subprocess.run(command, env={**os.environ, **told}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    for part in ("PENSTOCK_JWT_PROVIDERS", "issuers[0].issuer", "issuers[0].audiences", "kty must be one of"):
        assert part in done.stderr
    assert "c2VjcmV0" not in done.stderr
