"""Keys and limits on the command line, and which key a command sends."""

import pytest
import typer
from google.protobuf.timestamp_pb2 import Timestamp

from clients.cli.session import credential
from penstock.routing.v1 import access_service_pb2 as pb
from penstock.routing.v1.api_key_pb2 import ApiKey
from penstock.routing.v1.rate_limit_pb2 import RATE_LIMIT_SCOPE_TENANT, RATE_LIMIT_SCOPE_UNIT, RateLimit

SECRET = "penstock_abcdefghijkl_" + "s" * 43
KEY = ApiKey(
    id="abcdefghijkl",
    tenant="acme",
    principal="alice",
    roles=["caller", "engineer"],
    creator="admin",
    create_time=Timestamp(seconds=1_800_000_000),
)
LIMIT = RateLimit(name="gentle", scope=RATE_LIMIT_SCOPE_UNIT, requests_per_second=2.5, burst=10, shadow=True)


def test_a_new_key_is_printed_whole_with_a_warning(penstock):
    running = penstock("key", "create", "acme", "alice", "--role", "caller", "--role", "engineer", width=40)
    answer = pb.CreateApiKeyResponse(api_key=KEY, key=SECRET)
    sent = running.answer("AccessService", "CreateApiKey", answer)
    assert sent.api_key == ApiKey(tenant="acme", principal="alice", roles=["caller", "engineer"])
    printed = running.printed()
    assert printed.splitlines()[0] == SECRET
    assert "shown this once" in printed.replace("\n", " ")


def test_a_key_is_a_callers_unless_it_is_said(penstock):
    running = penstock("key", "create", "acme", "alice")
    answer = pb.CreateApiKeyResponse(api_key=KEY, key=SECRET)
    assert list(running.answer("AccessService", "CreateApiKey", answer).api_key.roles) == ["caller"]
    running.printed()


def test_keys_are_listed_with_who_ended_them(penstock):
    running = penstock("key", "list", "--tenant", "acme")
    revoked = ApiKey(id="b" * 12, tenant="acme", revoker="carol", revoke_time=Timestamp(seconds=1_800_000_060))
    pages = (pb.ListApiKeysResponse(api_keys=[KEY], next_page_token="more"), pb.ListApiKeysResponse(api_keys=[revoked]))
    assert running.answer("AccessService", "ListApiKeys", pages[0]).tenant == "acme"
    assert running.answer("AccessService", "ListApiKeys", pages[1]).tenant == "acme"
    printed = running.printed()
    assert "caller, engineer" in printed
    assert "good" in printed
    assert "revoked 2027-01-15T08:01:00Z by carol" in printed


def test_a_key_is_told_of_and_revoked(penstock):
    running = penstock("key", "get", KEY.id)
    assert running.answer("AccessService", "GetApiKey", pb.GetApiKeyResponse(api_key=KEY)).id == KEY.id
    assert "by admin" in running.printed()
    running = penstock("key", "revoke", KEY.id)
    revoked = ApiKey()
    revoked.MergeFrom(KEY)
    revoked.revoke_time.FromSeconds(1_800_000_060)
    assert running.answer("AccessService", "RevokeApiKey", pb.RevokeApiKeyResponse(api_key=revoked)).id == KEY.id
    assert "abcdefghijkl of acme/alice is revoked" in running.printed()


def test_a_limit_is_created_as_named(penstock):
    running = penstock("limit", "create", "gentle", "--rate", "2.5", "--scope", "unit", "--burst", "10", "--shadow")
    sent = running.answer("AccessService", "CreateRateLimit", pb.CreateRateLimitResponse(rate_limit=LIMIT))
    assert sent.rate_limit == LIMIT
    printed = running.printed()
    assert "2.5/s" in printed
    assert "counts only" in printed


def test_a_limit_counts_tenants_and_refuses_unless_it_is_said(penstock):
    running = penstock("limit", "create", "gentle", "--rate", "3", "--tenant", "acme")
    sent = running.answer("AccessService", "CreateRateLimit", pb.CreateRateLimitResponse(rate_limit=LIMIT))
    wanted = RateLimit(name="gentle", tenant="acme", scope=RATE_LIMIT_SCOPE_TENANT, requests_per_second=3)
    assert sent.rate_limit == wanted
    running.printed()


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        (("--rate", "5"), ["requests_per_second"]),
        (("--burst", "0", "--enforce"), ["burst", "shadow"]),
        (("--shadow",), ["shadow"]),
    ],
)
def test_a_limit_is_changed_where_it_is_named(penstock, options, fields):
    running = penstock("limit", "update", "gentle", *options)
    sent = running.answer("AccessService", "UpdateRateLimit", pb.UpdateRateLimitResponse(rate_limit=LIMIT))
    assert list(sent.update_mask.paths) == fields
    running.printed()


def test_limits_are_listed_and_deleted(penstock):
    running = penstock("limit", "list")
    running.answer("AccessService", "ListRateLimits", pb.ListRateLimitsResponse(rate_limits=[LIMIT]))
    assert "gentle" in running.printed()
    running = penstock("limit", "delete", "gentle")
    assert running.answer("AccessService", "DeleteRateLimit", pb.DeleteRateLimitResponse()).name == "gentle"
    assert running.printed() == "limit gentle is gone\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("limit", "update", "gentle"),
        ("limit", "create", "gentle", "--rate", "1", "--scope", "galaxy"),
        ("limit", "create", "gentle", "--rate", "1", "--burst", "-1"),
    ],
)
def test_a_wrong_limit_is_refused_before_any_call(penstock, arguments):
    with pytest.raises(typer.BadParameter):
        penstock(*arguments)._future.result(timeout=10)


@pytest.fixture
def home(monkeypatch, tmp_path):
    """Of a local stack that has made a key."""
    home = tmp_path / "home"
    (home / "data" / "routing").mkdir(parents=True)
    (home / "data" / "routing" / "admin.key").write_text(SECRET + "\n")
    monkeypatch.setenv("PENSTOCK_HOME", str(home))
    return home


def test_the_local_stack_gets_its_own_key(home):
    assert credential("", "") == SECRET


def test_a_key_that_is_named_comes_first(home):
    assert credential("", "mine") == "mine"
    assert credential("elsewhere:1", "mine") == "mine"


def test_nobody_else_gets_the_stacks_key(home):
    assert not credential("elsewhere:1", "")


def test_without_a_file_there_is_no_key_and_no_folder_is_made(monkeypatch, tmp_path):
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "another"))
    assert not credential("", "")
    assert not (tmp_path / "another").exists()


def test_a_key_that_cannot_be_sent_is_not_repeated():
    with pytest.raises(typer.BadParameter) as raised:
        credential("x:1", "gehéim")
    assert "gehéim" not in str(raised.value)
