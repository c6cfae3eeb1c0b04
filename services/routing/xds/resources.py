"""Policy to snapshot: every resource that Envoy is given, by type and name. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Generic, TypeVar

from google.protobuf.message import Message

from services.routing.domain.compiled import ModelPolicy
from services.routing.domain.compiler import Compiler
from services.routing.domain.latest import Latest
from services.routing.domain.policy import ApiKey, Inputs, Issuer, RateLimit
from services.routing.domain.snapshot import Resource, Snapshot
from services.routing.xds import access, clusters, doors, routes, tokens
from services.routing.xds.messages import (
    Cluster,
    ClusterLoadAssignment,
    RouteConfiguration,
    ScopedRouteConfiguration,
    TypedExtensionConfig,
    type_url,
)

CDS, EDS = type_url(Cluster), type_url(ClusterLoadAssignment)
SRDS, RDS = type_url(ScopedRouteConfiguration), type_url(RouteConfiguration)
ECDS = type_url(TypedExtensionConfig)

Value = TypeVar("Value")


class SnapshotCompiler:
    """Inputs to snapshot. Like the compiler inside it remembers the last one, and makes only what differs anew."""

    def __init__(self, *, authentication: bool = False, origins: tuple[str, ...] = ()) -> None:
        self._authentication = authentication
        self._origins = origins
        self._compiler = Compiler()
        self._gates = Latest(self._gate_of)
        self._sets = _Encoder(clusters.server_set)
        self._chains = _Encoder(clusters.composite, lambda _, shape: shape)
        self._endpoints = _Encoder(clusters.assignment)
        self._tables = _Encoder(_table_of, lambda _, of: of[0].clusters)
        self._scopes = _Encoder(routes.scope, lambda name, _: (name,))
        self._scoped = Latest(self._scope_of)

    def compile(self, inputs: Inputs) -> Snapshot:
        policy = self._compiler.compile(inputs)
        sets, doors_only = policy.server_sets, without_policy(authentication=self._authentication)
        filters = (access.FILTER, access.BEHIND_JWT) if inputs.issuers else (access.FILTER,)
        tables = {routes.table_name(model): (found, filters) for model, found in policy.models.items()}
        return Snapshot(
            policy,
            {
                CDS: {**doors_only[CDS], **self._sets(sets), **self._chains(policy.composites)},
                EDS: self._endpoints({name: found for name, found in sets.items() if not found.named}),
                RDS: {**doors_only[RDS], **self._tables(tables)},
                SRDS: self._scoped(tuple(policy.models)),
                ECDS: self._gates(inputs.keys, inputs.limits, inputs.issuers),
            },
        )

    def _scope_of(self, models: tuple[str, ...]) -> dict[str, Resource]:
        return {
            **without_policy(authentication=self._authentication)[SRDS],
            **self._scopes({routes.table_name(model): model for model in models}),
        }

    def _gate_of(
        self, keys: tuple[ApiKey, ...], limits: tuple[RateLimit, ...], issuers: tuple[Issuer, ...]
    ) -> dict[str, Resource]:
        def gate(name: str, trusted: tuple[Issuer, ...]) -> Resource:
            on, origins = self._authentication, self._origins
            return _resource(
                access.gate(name, authentication=on, keys=keys, limits=limits, origins=origins, issuers=trusted)
            )

        # one that is taken away Envoy goes on with: where there are no issuers any more it is given what lets nobody in
        if not issuers:
            shut = without_policy(authentication=self._authentication)[ECDS]
            return {**shut, access.FILTER: gate(access.FILTER, ())}
        return {
            access.FILTER: gate(access.FILTER, ()),
            access.BEHIND_JWT: gate(access.BEHIND_JWT, issuers),
            tokens.JWT: _resource(tokens.verifier(issuers)),
        }


def compile_snapshot(inputs: Inputs, *, authentication: bool = False, origins: tuple[str, ...] = ()) -> Snapshot:
    """From nothing but the inputs, and what does not change while routing runs."""
    return SnapshotCompiler(authentication=authentication, origins=origins).compile(inputs)


@cache
def without_policy(*, authentication: bool) -> Mapping[str, Mapping[str, Resource]]:
    """What an Envoy may have before there is any policy: the doors to the services, shut where keys are asked for.

    With one cluster: an Envoy that starts opens no listener, the mesh's neither, before it has heard of clusters.
    """
    table, scope = doors.table(), doors.scope()
    gates = {
        name: access.gate(name, authentication=authentication, keys=(), limits=())
        for name in (access.FILTER, access.BEHIND_JWT)
    }
    return {
        CDS: {clusters.UNSERVED: _resource(clusters.unserved())},
        RDS: {doors.DEFAULT: _resource(table[1])},
        SRDS: {doors.DEFAULT: _resource(scope[1])},
        ECDS: {name: _resource(message) for name, message in {**gates, tokens.JWT: tokens.verifier(())}.items()},
    }


class _Encoder(Generic[Value]):
    """Resources of one kind, by name. One whose value is that of the last call is the last call's resource."""

    def __init__(
        self,
        message_of: Callable[[str, Value], Message],
        needs_of: Callable[[str, Value], Iterable[str]] = lambda _, __: (),
    ) -> None:
        self._message_of, self._needs_of = message_of, needs_of
        self._last: Mapping[str, tuple[Value, Resource]] = {}

    def __call__(self, values: Mapping[str, Value]) -> dict[str, Resource]:
        self._last = {name: self._encoded(name, value) for name, value in values.items()}
        return {name: resource for name, (_, resource) in self._last.items()}

    def _encoded(self, name: str, value: Value) -> tuple[Value, Resource]:
        last = self._last.get(name)
        if last is not None and (last[0] is value or last[0] == value):
            return last
        return value, _resource(self._message_of(name, value), self._needs_of(name, value))


def _table_of(name: str, of: tuple[ModelPolicy, Sequence[str]]) -> Message:
    return routes.table(name, *of)


def _resource(message: Message, needs: Iterable[str] = ()) -> Resource:
    return Resource.of(message.SerializeToString(deterministic=True), needs)
