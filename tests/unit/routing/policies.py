"""Inputs of a compiler, at random but possible."""

from __future__ import annotations

from hypothesis import strategies as st

from services.routing.domain.policy import (
    Allocation,
    ApiKey,
    Deployment,
    Exhausted,
    Inputs,
    Limits,
    LoadBalancing,
    Mirror,
    ModelVersion,
    Range,
    RateLimit,
    Retries,
    Route,
    Scope,
    Server,
    ServerWeight,
    Unhealthy,
)

SERVERS = ("a", "b", "c")
MODELS = ("m", "n")
VERSIONS = ("1", "2", "3")

tenants = st.sampled_from(("t", "u"))
keys = st.builds(
    ApiKey,
    st.sampled_from(("aaaaaaaaaaaa", "bbbbbbbbbbbb")),
    st.sampled_from(("0" * 64, "f" * 64)),
    tenants,
    st.just("somebody"),
    st.sets(st.sampled_from(("admin", "caller")), min_size=1).map(lambda roles: tuple(sorted(roles))),
)
limits = st.builds(
    RateLimit,
    st.sampled_from(("l1", "l2")),
    tenants | st.just(""),
    st.sampled_from(Scope),
    st.sampled_from((0.5, 100.0)),
    st.sampled_from((1, 10)),
    st.booleans(),
)
weights = st.builds(ServerWeight, st.sampled_from(SERVERS), st.integers(32, 316), st.sampled_from(("", "slow")))
targets = st.builds(ModelVersion, st.sampled_from(MODELS), st.sampled_from(VERSIONS))


def _routes(model: str) -> st.SearchStrategy[Route]:
    return st.builds(
        Route,
        st.just(model),
        st.sampled_from(VERSIONS),
        st.lists(targets, max_size=3, unique=True).map(tuple),
        st.sampled_from(LoadBalancing),
        st.sampled_from((0.0, 5.0)),
        st.builds(Retries, st.integers(0, 7)),
        st.none() | st.builds(Mirror, st.sampled_from(VERSIONS), st.integers(1, 10_000)),
        st.builds(Limits, st.sampled_from((1, 50)), st.sampled_from((0, 9))),
    )


@st.composite
def _allocations(draw: st.DrawFn, model: str) -> tuple[Allocation, ...]:
    """Disjoint ranges, dealt to up to two experiments of one salt."""
    cuts = sorted(draw(st.sets(st.integers(0, 10_000), max_size=8)))
    ranges = [
        Range(start, end, draw(st.sampled_from(("x", "y"))), draw(st.sampled_from(VERSIONS)))
        for start, end in zip(cuts[::2], cuts[1::2], strict=False)
    ]
    parts = (ranges[::2], ranges[1::2])
    return tuple(Allocation(f"e{n}", model, f"salt of {model}", tuple(part)) for n, part in enumerate(parts) if part)


@st.composite
def inputs(draw: st.DrawFn) -> Inputs:
    routed = draw(st.sets(st.sampled_from(MODELS)))
    deployed = draw(st.sets(targets))
    allocated = draw(st.sets(st.sampled_from(MODELS)))
    servers = st.sets(st.sampled_from(SERVERS))
    sick = st.builds(Unhealthy, st.sampled_from(SERVERS), st.just("slow"))
    sick_version = st.builds(
        Unhealthy, st.sampled_from(SERVERS), st.just("wrong"), st.sampled_from(MODELS), st.sampled_from(VERSIONS)
    )
    return Inputs(
        servers=tuple(Server(name, f"10.0.0.{n}", 8001) for n, name in enumerate(SERVERS)),
        deployments=tuple(
            Deployment(t.model, t.version, tuple(sorted(draw(servers)))) for t in sorted(deployed, key=repr)
        ),
        routes=tuple(draw(_routes(model)) for model in sorted(routed)),
        allocations=tuple(a for model in sorted(allocated) for a in draw(_allocations(model))),
        unhealthy=tuple(
            draw(st.lists(sick | sick_version, max_size=4, unique_by=lambda u: (u.server, u.model, u.version)))
        ),
        exhausted=tuple(draw(st.lists(st.builds(Exhausted, st.just("t"), st.sampled_from(("", "m"))), max_size=1))),
        keys=tuple(draw(st.lists(keys, max_size=2, unique_by=lambda key: key.id))),
        limits=tuple(draw(st.lists(limits, max_size=2, unique_by=lambda limit: limit.name))),
        weights=tuple(draw(st.lists(weights, max_size=3, unique_by=lambda weight: weight.server))),
    )
