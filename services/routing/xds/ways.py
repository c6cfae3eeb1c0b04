"""The way of a call whose route is chosen, as our filter is told of it: deploy/envoy/filter/way.h has the lines."""

from collections.abc import Sequence
from typing import Any

from google.protobuf.wrappers_pb2 import StringValue

from services.routing.domain.compiled import Chain, ModelPolicy, Slice
from services.routing.domain.policy import ModelVersion
from services.routing.xds.access import MODULE
from services.routing.xds.messages import FilterPerRoute, packed


class Ways:
    """Of a model. `filters`: the names that our filter has in the listeners."""

    def __init__(self, model: ModelPolicy, filters: Sequence[str]) -> None:
        limits = model.limits
        self._model, self._filters = model.model, filters
        self._room = f"room {limits.max_calls} {limits.max_waiting} {limits.max_message_bytes or ''}".rstrip()

    def of_chain(self, chain: Chain, owner: Slice | None = None) -> dict[str, Any]:
        if not chain.attempts:
            return self._said()
        first = chain.attempts[0].target
        lines = [f"chain {','.join(self._named(each.target) for each in chain.attempts)}", f"version {first.version}"]
        if first != chain.wanted:
            lines.append("degraded fallback-model")
        if owner is not None and owner.experiment and not owner.lent:
            lines += [f"variant {owner.variant}", f"experiment {owner.experiment}"]
        return self._said(*lines)

    def of_copies(self, version: str) -> dict[str, Any]:
        return self._said(f"chain {version}", f"version {version}")

    def _named(self, target: ModelVersion) -> str:
        return target.version if target.model == self._model else f"{target.model}/{target.version}"

    def _said(self, *lines: str) -> dict[str, Any]:
        text = packed(StringValue(value="\n".join((self._room, *lines))))
        way = packed(
            FilterPerRoute(dynamic_module_config=MODULE, per_route_config_name=self._model, filter_config=text)
        )
        return {"typed_per_filter_config": dict.fromkeys(self._filters, way)}
