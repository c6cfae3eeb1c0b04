"""Whether a route names versions that there are."""

from collections.abc import Iterator
from typing import Protocol

from libs.errors import NotFound, Violation
from services.routing.domain.known import Deployed
from services.routing.domain.policy import ModelVersion, Route


class Registry(Protocol):
    """The owner of model versions."""

    async def has(self, target: ModelVersion) -> bool:
        """Whether it is registered. Raises Unavailable."""
        ...


async def require_existing(route: Route, before: Route | None, deployed: Deployed | None, registry: Registry) -> None:
    """Raises NotFound MODEL_VERSION_NOT_FOUND with every field that names what does not exist, and Unavailable.

    What the route names already and what is known to be deployed exists: nobody is asked, so that traffic can be led
    elsewhere while the registry is down. What no server has could serve nobody meanwhile.
    """
    known = {ModelVersion(d.model, d.version) for d in (deployed or Deployed()).deployments}
    if before is not None:
        known |= {target for _, target in _named(before)}
    unknown = [(field, target) for field, target in _named(route) if target not in known]
    absent = {target for target in dict.fromkeys(target for _, target in unknown) if not await registry.has(target)}
    if absent:
        violations = [
            Violation(field, f"model {target.model!r} has no version {target.version!r}")
            for field, target in unknown
            if target in absent
        ]
        versions = ", ".join(dict.fromkeys(target.version for _, target in unknown if target in absent))
        message = f"model {route.model!r} has no version {versions}: register it first"
        raise NotFound("MODEL_VERSION_NOT_FOUND", message, violations=violations, model=route.model, version=versions)


def _named(route: Route) -> Iterator[tuple[str, ModelVersion]]:
    yield "route.default_version", ModelVersion(route.model, route.default_version)
    for index, target in enumerate(route.fallbacks):
        yield f"route.fallback_versions[{index}]", target
    if route.mirror is not None:
        yield "route.mirror.version", ModelVersion(route.model, route.mirror.version)
