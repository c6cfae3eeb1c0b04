"""Who may call and how often, as the filter at the ingress reads it: it is sent alone, whatever else the policy says.

Hashes of keys, never keys: an Envoy, its dumps and the snapshots hold nothing that anybody could call with.
"""

from collections.abc import Iterator, Sequence

from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue

from services.routing.domain.policy import ApiKey, Issuer, RateLimit
from services.routing.xds.messages import DynamicModuleFilter, TypedExtensionConfig, packed

FILTER = "penstock"
"""Our filter in each listener for inferences, and what is configured of it from here."""

INGRESS = "ingress"
"""What it does at the ingress."""
BEHIND_JWT = "penstock-behind-jwt"
"""Its name, and that of its configuration, at an ingress that has the filter `jwt` before it. Only it names issuers:
whoever stands there alone would take what callers say of themselves for claims.
"""

MODULE = {"name": "penstock", "do_not_close": True}
NS = 1_000_000_000


def gate(
    name: str,
    *,
    authentication: bool,
    keys: Sequence[ApiKey],
    limits: Sequence[RateLimit],
    origins: Sequence[str] = (),
    issuers: Sequence[Issuer] = (),
) -> Message:
    """deploy/envoy/filter/access.h tells the lines of its text. `origins`: of pages that may call, or `*`."""
    lines = (*_lines(authentication, keys, limits), *(f"origin {origin}" for origin in origins), *_issuers(issuers))
    text = "\n".join(lines)
    filter_config = packed(StringValue(value=text))
    module = DynamicModuleFilter(dynamic_module_config=MODULE, filter_name=INGRESS, filter_config=filter_config)
    return TypedExtensionConfig(name=name, typed_config=packed(module))


def _lines(authentication: bool, keys: Sequence[ApiKey], limits: Sequence[RateLimit]) -> Iterator[str]:
    yield f"auth {'on' if authentication else 'off'}"
    if authentication:
        for key in sorted(keys, key=lambda key: key.id):
            yield f"key {key.sha256} {key.tenant} {key.principal} {','.join(key.roles)}"
    for limit in sorted(limits, key=lambda limit: limit.name):
        interval = round(NS / limit.requests_per_second)
        outcome = "shadow" if limit.shadow else "enforced"
        yield f"limit {limit.name} {limit.scope} {limit.tenant or '*'} {interval} {limit.burst} {outcome}"


def _issuers(issuers: Sequence[Issuer]) -> Iterator[str]:
    for issuer in issuers:
        yield f"issuer {issuer.name} {'list' if issuer.lists_roles else 'words'} {','.join(issuer.tenants)}"
