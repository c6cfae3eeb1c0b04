"""The file that names issuers of tokens: what is read of it, and what is refused before anybody depends on it."""

import asyncio
import json
from dataclasses import replace

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from libs.config import ConfigError
from libs.errors import Invalid
from services.routing.config import read as read_environment
from services.routing.domain.parts import decode, encode
from services.routing.domain.policy import Deployment, Inputs, Issuer, Route, Server
from services.routing.domain.reasons import authors, reasons
from services.routing.stores.issuers import IssuersFile
from services.routing.xds.access import BEHIND_JWT, FILTER
from services.routing.xds.messages import (
    DynamicModuleFilter,
    JwtAuthentication,
    RouteConfiguration,
    TypedExtensionConfig,
)
from services.routing.xds.resources import ECDS, RDS, SnapshotCompiler, compile_snapshot
from services.routing.xds.tokens import JWT
from tests.polling import eventually_async
from tests.unit.routing.test_routing_config import NEEDED

RSA = {"kty": "RSA", "kid": "a", "n": "AQAB", "e": "AQAB"}
EC = {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}
GOOD = {"issuer": "https://login.example", "audiences": ["penstock"], "jwks": {"keys": [RSA, EC]}}
PLAIN = Issuer("https://login.example", ("penstock",), "{}")


def read(folder, content):
    file = folder / "issuers.yaml"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return IssuersFile(file).read()


def faults(folder, content):
    with pytest.raises(Invalid) as raised:
        read(folder, content)
    found: dict[str, str] = {}
    for violation in raised.value.violations:
        found[violation.field] = f"{found.get(violation.field, '')}{violation.description}; "
    return found


def test_what_is_left_out_has_a_default(tmp_path):
    (found,) = read(tmp_path, {"issuers": [GOOD]})
    assert (found.name, found.audiences, found.tenants) == ("https://login.example", ("penstock",), ("*",))
    assert (found.tenant_claim, found.principal_claim, found.roles_claim) == ("tenant", "sub", "roles")
    assert found.lists_roles
    assert json.loads(found.jwks) == {"keys": [RSA, EC]}


def test_whole_and_with_keys_in_a_file_beside_it(tmp_path):
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [RSA], "more": 1}))
    second, first = read(
        tmp_path,
        """
        issuers:
          - {issuer: b, audiences: [x], jwks: keys.json}
          - issuer: accounts
            audiences: [penstock, batch, penstock]
            jwks: keys.json
            tenants: [beta, acme]
            claims: {tenant: org.id, principal: email, roles: scope}
            roles_are: words
        """,
    )[::-1]
    assert (first.name, second.name) == ("accounts", "b")
    assert (first.audiences, first.tenants) == (("batch", "penstock"), ("acme", "beta"))
    assert (first.tenant_claim, first.principal_claim, first.roles_claim) == ("org.id", "email", "scope")
    assert not first.lists_roles
    assert json.loads(first.jwks) == {"keys": [RSA]}


@pytest.mark.parametrize(
    ("change", "field", "part"),
    [
        ({"issuer": ""}, "issuer", "required"),
        ({"issuer": "a b"}, "issuer", "without spaces"),
        ({"audiences": []}, "audiences", "at least one"),
        ({"audiences": "penstock"}, "audiences", "list of texts"),
        ({"tenants": []}, "tenants", "names none"),
        ({"tenants": ["a b"]}, "tenants", "no name of a tenant"),
        ({"tenants": ["*", "acme"]}, "tenants", "no name of a tenant"),
        ({"claims": {"tenant": "https://example/tenant"}}, "claims.tenant", "name of a claim"),
        ({"claims": {"role": "x"}}, "claims", "has role"),
        ({"claims": ["x"]}, "claims", "mapping"),
        ({"roles_are": "text"}, "roles_are", "list or words"),
        ({"jwks": {}}, "jwks", "key set"),
        ({"jwks": "nowhere.json"}, "jwks", "cannot be read"),
        ({"jwks": {"keys": [{"kty": "oct", "k": "AA"}]}}, "jwks.keys[0]", "kty must be one of"),
        ({"jwks": {"keys": [RSA, {**RSA, "d": "AA"}]}}, "jwks.keys[1]", "private key"),
        ({"jwks": {"keys": [{"kty": "RSA", "n": "AA"}]}}, "jwks.keys[0]", "has no e"),
        ({"audience": "x"}, "", "has audience"),
    ],
)
def test_faults_are_named(tmp_path, change, field, part):
    found = faults(tmp_path, {"issuers": [GOOD, {**GOOD, "issuer": "other", **change}]})
    assert part in found[f"issuers[1].{field}".rstrip(".")]


@pytest.mark.parametrize("content", ["", "[]", "{}", "issuers: []", "issuers: x", "{issuers: [], more: 1}", "{", "\0"])
def test_a_file_of_something_else(tmp_path, content):
    assert set(faults(tmp_path, content)) == {"issuers"}


def test_all_faults_are_told_at_once_and_no_key_is(tmp_path):
    secret = {"kty": "RSA", "n": "N", "e": "E", "d": "VERYSECRET"}
    found = faults(tmp_path, {"issuers": [{"issuer": "x", "jwks": {"keys": [secret]}}, "y"]})
    assert {"issuers[0].audiences", "issuers[0].jwks.keys[0]", "issuers[1]"} <= set(found)
    assert "VERYSECRET" not in str(found)


def test_a_name_is_one_issuers(tmp_path):
    assert "twice" in faults(tmp_path, {"issuers": [GOOD, GOOD]})["issuers"]


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(Invalid, match=r"nowhere\.yaml cannot be read"):
        IssuersFile(tmp_path / "nowhere.yaml").read()


async def test_another_file_is_read_and_a_broken_one_is_not(tmp_path, caplog):
    read(tmp_path, {"issuers": [GOOD]})
    file = IssuersFile(tmp_path / "issuers.yaml")
    watched = file.watch()
    assert await anext(watched) == file.read()
    (tmp_path / "issuers.yaml").write_text("issuers: []")
    following = asyncio.ensure_future(anext(watched))

    async def told():
        return "the last ones stay in force" in caplog.text

    await eventually_async(told)
    (tmp_path / "issuers.yaml").write_text(json.dumps({"issuers": [{**GOOD, "audiences": ["other"]}]}))
    (found,) = await following
    assert found.audiences == ("other",)
    await watched.aclose()


def test_tokens_need_authentication():
    named = {**NEEDED, "PENSTOCK_JWT_PROVIDERS": "issuers.yaml"}
    assert read_environment(NEEDED).issuers is None
    assert str(read_environment(named).issuers) == "issuers.yaml"
    with pytest.raises(ConfigError, match="PENSTOCK_JWT_PROVIDERS"):
        read_environment({**named, "PENSTOCK_AUTH": "off"})


def of_envoy(*issuers):
    """What the filters are told: the verifier's configuration, and the lines of both gates."""
    resources = compile_snapshot(Inputs(issuers=issuers), authentication=True).resources[ECDS]
    found = {name: TypedExtensionConfig.FromString(each.body).typed_config for name, each in resources.items()}
    texts = [
        StringValue.FromString(DynamicModuleFilter.FromString(found[name].value).filter_config.value).value
        for name in (FILTER, BEHIND_JWT)
    ]
    return JwtAuthentication.FromString(found[JWT].value), *texts


def test_only_the_ingress_that_has_the_filter_before_it_hears_of_issuers():
    verifier, alone, behind = of_envoy(PLAIN, Issuer("b", ("x",), "{}", ("acme", "beta"), lists_roles=False))
    assert "issuer" not in alone
    assert behind.splitlines()[-2:] == ["issuer https://login.example list *", "issuer b words acme,beta"]
    provider = verifier.providers["https://login.example"]
    assert (provider.issuer, list(provider.audiences), provider.require_expiration, provider.forward) == (
        "https://login.example", ["penstock"], True, False
    )  # fmt: skip
    assert not of_envoy()[0].providers
    assert of_envoy()[2] == "auth on"


def test_the_room_of_a_model_is_told_under_each_name_that_a_filter_has():
    compiler = SnapshotCompiler(authentication=True)
    routed = Inputs((Server("a", "127.0.0.1", 1),), (Deployment("m", "1", ("a",)),), (Route("m", "1"),))
    for issuers, names in ((), {FILTER}), ((PLAIN,), {FILTER, BEHIND_JWT}), ((), {FILTER}):
        snapshot = compiler.compile(replace(routed, issuers=issuers))
        table = RouteConfiguration.FromString(snapshot.resources[RDS]["model/m"].body)
        for route in table.virtual_hosts[0].routes:
            assert set(route.typed_per_filter_config) == (set() if route.name == "unknown-version" else names)


def test_the_history_tells_of_issuers():
    assert decode("issuer", encode(PLAIN)) == PLAIN
    name = ("issuer", PLAIN.name)
    rotated = Issuer(PLAIN.name, PLAIN.audiences, '{"keys": []}', tenant_claim="org")
    told = [reasons({name: change}, ()) for change in ((None, PLAIN), (PLAIN, rotated), (PLAIN, None))]
    assert told == [
        (f"issuer of tokens {PLAIN.name}: its tokens are taken",),
        (f"issuer of tokens {PLAIN.name}: its keys changed",),
        (f"issuer of tokens {PLAIN.name}: its tokens are not taken any more",),
    ]
    assert authors({name: (None, PLAIN)}, ()) == ("routing",)
