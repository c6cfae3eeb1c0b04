"""Keys and limits through the ingress, as clients write them, and the first key of a start with authentication."""

import asyncio
import json
import uuid

import asyncpg
import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from libs.channels import open_channel
from libs.statuses import reason_of
from penstock.routing.v1 import access_service_pb2 as pb
from penstock.routing.v1.access_service_pb2_grpc import AccessServiceStub
from penstock.routing.v1.api_key_pb2 import ApiKey
from penstock.routing.v1.rate_limit_pb2 import RATE_LIMIT_SCOPE_TENANT, RATE_LIMIT_SCOPE_UNIT, RateLimit
from services.routing.domain.keys import KEY, key_hash
from tests.conftest import running
from tests.polling import eventually_async

AS_ADMIN = (("x-penstock-tenant", "local"), ("x-penstock-principal", "admin"), ("x-penstock-roles", "admin"))


@pytest.fixture
async def access(mesh):
    stub = AccessServiceStub(mesh.ingress)
    await eventually_async(lambda: stub.ListApiKeys(pb.ListApiKeysRequest()), within=30)
    return stub


def holder(**fields):
    return ApiKey(**{"tenant": "acme", "principal": "alice@acme.example", "roles": ["engineer", "caller"], **fields})


async def refusal(call):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value.code(), reason_of(raised.value)


def known(mesh):
    return json.loads((mesh.stack.places.data("routing") / "last_known.json").read_text())


async def query(mesh, statement, *values):
    connection = await asyncpg.connect(mesh.stack.postgres_dsn)
    try:
        return await connection.fetch(statement, *values)
    finally:
        await connection.close()


async def test_a_key_is_shown_once_and_only_its_hash_is_kept(mesh, access):
    asked = pb.CreateApiKeyRequest(request_id=uuid.uuid4().hex, api_key=holder(description="of a test"))
    made = await access.CreateApiKey(asked)
    assert KEY.fullmatch(made.key).group(1) == made.api_key.id
    assert list(made.api_key.roles) == ["caller", "engineer"]
    assert (made.api_key.creator, made.api_key.description) == ("local", "of a test")
    again = await access.CreateApiKey(asked)
    assert (again.api_key, again.key) == (made.api_key, "")
    assert (await access.GetApiKey(pb.GetApiKeyRequest(id=made.api_key.id))).api_key == made.api_key
    (row,) = await query(mesh, "SELECT * FROM routing.api_key WHERE id = $1", made.api_key.id)
    assert row["sha256"] == key_hash(made.key)
    secret = made.key.rpartition("_" + made.api_key.id + "_")[2]
    for table in ("api_key", "mutation"):
        rows = await query(mesh, f"SELECT t::text AS text, t FROM routing.{table} t")
        assert not any(secret in row["text"] or secret.encode().hex() in row["text"] for row in rows)


async def test_the_compiler_hears_of_keys_until_they_are_revoked(mesh, access):
    made = await access.CreateApiKey(pb.CreateApiKeyRequest(api_key=holder(tenant="heard")))

    async def heard():
        return [key for key in known(mesh)["keys"] or () if key["tenant"] == "heard"]

    (key,) = await eventually_async(heard, within=30)
    assert key == {
        "id": made.api_key.id,
        "sha256": key_hash(made.key),
        "tenant": "heard",
        "principal": "alice@acme.example",
        "roles": ["caller", "engineer"],
    }
    revoked = (await access.RevokeApiKey(pb.RevokeApiKeyRequest(id=made.api_key.id))).api_key
    assert revoked.revoker == "local"
    assert revoked.revoke_time.ToNanoseconds() >= revoked.create_time.ToNanoseconds()

    async def forgotten():
        return not await heard()

    await eventually_async(forgotten, within=30)
    assert (await access.RevokeApiKey(pb.RevokeApiKeyRequest(id=made.api_key.id))).api_key == revoked
    listed = await access.ListApiKeys(pb.ListApiKeysRequest(tenant="heard"))
    assert list(listed.api_keys) == [revoked]


async def test_keys_are_listed_in_pages_of_one_tenant(access):
    made = [
        (await access.CreateApiKey(pb.CreateApiKeyRequest(api_key=holder(tenant="pages")))).api_key.id for _ in range(3)
    ]
    first = await access.ListApiKeys(pb.ListApiKeysRequest(page_size=2, tenant="pages"))
    asked = pb.ListApiKeysRequest(page_size=2, tenant="pages", page_token=first.next_page_token)
    second = await access.ListApiKeys(asked)
    assert [key.id for key in (*first.api_keys, *second.api_keys)] == sorted(made)
    assert not second.next_page_token
    wrong = pb.ListApiKeysRequest(page_token="nonsense")
    assert await refusal(access.ListApiKeys(wrong)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")


async def test_what_is_wrong_or_not_there_is_refused(access):
    invalid = grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"
    not_found = grpc.StatusCode.NOT_FOUND
    for wrong in (ApiKey(), holder(tenant="a b"), holder(roles=["king"]), holder(roles=[]), holder(description="\0")):
        assert await refusal(access.CreateApiKey(pb.CreateApiKeyRequest(api_key=wrong))) == invalid
    assert await refusal(access.GetApiKey(pb.GetApiKeyRequest(id="A" * 12))) == invalid
    assert await refusal(access.ListApiKeys(pb.ListApiKeysRequest(tenant="a\0"))) == invalid
    assert await refusal(access.GetApiKey(pb.GetApiKeyRequest(id="a" * 12))) == (not_found, "API_KEY_NOT_FOUND")
    assert await refusal(access.RevokeApiKey(pb.RevokeApiKeyRequest(id="a" * 12))) == (not_found, "API_KEY_NOT_FOUND")
    for wrong in (RateLimit(), RateLimit(name="n", requests_per_second=float("nan")), RateLimit(name="n", burst=1)):
        assert await refusal(access.CreateRateLimit(pb.CreateRateLimitRequest(rate_limit=wrong))) == invalid
    gone = pb.UpdateRateLimitRequest(rate_limit=RateLimit(name="nobody", requests_per_second=1))
    for call in (
        access.GetRateLimit(pb.GetRateLimitRequest(name="nobody")),
        access.UpdateRateLimit(gone),
        access.DeleteRateLimit(pb.DeleteRateLimitRequest(name="nobody")),
    ):
        assert await refusal(call) == (not_found, "RATE_LIMIT_NOT_FOUND")


async def test_a_limit_that_would_not_be_enforced_is_not_made(access):
    """A call takes tokens of 64."""
    made = []
    try:
        for n in range(64):
            wanted = RateLimit(name=f"crowd-{n}", tenant="crowd", scope=RATE_LIMIT_SCOPE_TENANT, requests_per_second=1)
            made.append((await access.CreateRateLimit(pb.CreateRateLimitRequest(rate_limit=wanted))).rate_limit.name)
        wanted = RateLimit(name="one-more", tenant="crowd", scope=RATE_LIMIT_SCOPE_TENANT, requests_per_second=1)
        refused = await refusal(access.CreateRateLimit(pb.CreateRateLimitRequest(rate_limit=wanted)))
        assert refused == (grpc.StatusCode.FAILED_PRECONDITION, "RATE_LIMITS_FULL")
    finally:
        for name in made:
            await access.DeleteRateLimit(pb.DeleteRateLimitRequest(name=name))


async def test_the_life_of_a_limit(mesh, access):
    wanted = RateLimit(name="gentle", tenant="acme", requests_per_second=2.5)
    created = pb.CreateRateLimitRequest(request_id=uuid.uuid4().hex, rate_limit=wanted)
    limit = (await access.CreateRateLimit(created)).rate_limit
    assert (limit.scope, limit.burst, limit.shadow) == (RATE_LIMIT_SCOPE_TENANT, 3, False)
    assert (await access.CreateRateLimit(created)).rate_limit == limit
    exists = await refusal(access.CreateRateLimit(pb.CreateRateLimitRequest(rate_limit=wanted)))
    assert exists == (grpc.StatusCode.ALREADY_EXISTS, "RATE_LIMIT_EXISTS")

    async def heard():
        return [each for each in known(mesh)["limits"] or () if each["name"] == "gentle"]

    (told,) = await eventually_async(heard, within=30)
    assert (told["scope"], told["requests_per_second"], told["burst"]) == ("TENANT", 2.5, 3)

    changed = RateLimit(name="gentle", etag=limit.etag, shadow=True, burst=99, scope=RATE_LIMIT_SCOPE_UNIT)
    mask = FieldMask(paths=["shadow"])
    update = pb.UpdateRateLimitRequest(rate_limit=changed, update_mask=mask)
    after = (await access.UpdateRateLimit(update)).rate_limit
    assert (after.scope, after.burst, after.shadow) == (RATE_LIMIT_SCOPE_TENANT, 3, True)
    assert await refusal(access.UpdateRateLimit(update)) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    assert list((await access.ListRateLimits(pb.ListRateLimitsRequest(tenant="acme"))).rate_limits) == [after]
    assert (await access.GetRateLimit(pb.GetRateLimitRequest(name="gentle"))).rate_limit == after
    await access.DeleteRateLimit(pb.DeleteRateLimitRequest(name="gentle", etag=after.etag))

    async def forgotten():
        return not await heard()

    await eventually_async(forgotten, within=30)


@pytest.fixture
async def guarded(tmp_path):
    """Postgres and a routing that was told to authenticate."""
    around = running(tmp_path, ("postgres", "routing"), {"PENSTOCK_AUTH": "on"})
    yield await asyncio.to_thread(around.__enter__)
    await asyncio.to_thread(around.__exit__, None, None, None)


async def test_the_first_start_with_authentication_makes_the_only_admin(guarded):
    file = guarded.places.data("routing") / "admin.key"

    async def written():
        return file.exists() and file.read_text().strip()

    text = await eventually_async(written, within=30)
    assert file.stat().st_mode & 0o777 == 0o600
    channel = open_channel(guarded.address("routing"))
    try:
        access = AccessServiceStub(channel)
        asked = pb.ListApiKeysRequest()
        (admin,) = (await eventually_async(lambda: access.ListApiKeys(asked, metadata=AS_ADMIN), within=30)).api_keys
        assert admin.id == KEY.fullmatch(text).group(1)
        assert (admin.tenant, admin.principal, list(admin.roles)) == ("local", "admin", ["admin"])
        call = access.RevokeApiKey(pb.RevokeApiKeyRequest(id=admin.id), metadata=AS_ADMIN)
        assert await refusal(call) == (grpc.StatusCode.FAILED_PRECONDITION, "LAST_ADMIN_KEY")
        assert not any(text in log.read_text() for log in guarded.places.logs.glob("routing*"))
    finally:
        await channel.close()
