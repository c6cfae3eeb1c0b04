"""What was compiled before never shows: a compiler that remembers answers what a fresh one would."""

from __future__ import annotations

from dataclasses import fields, replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.routing.domain.policy import Allocation, Deployment, Inputs, ModelVersion, Range, Route, Server, Unhealthy
from services.routing.xds.resources import CDS, EDS, RDS, SRDS, SnapshotCompiler, compile_snapshot
from tests.unit.routing.policies import inputs

SERVERS = tuple(Server(name, f"10.0.0.{n}", 8001) for n, name in enumerate("abc"))
MANY = Inputs(
    servers=SERVERS,
    deployments=tuple(Deployment(f"m{n}", v, ("a", "b")) for n in range(20) for v in "12"),
    routes=tuple(Route(f"m{n}", "1") for n in range(20)),
    allocations=tuple(Allocation(f"e{n}", f"m{n}", "s", (Range(0, 5000, "x", "2"),)) for n in range(20)),
)
PARTS = [field.name for field in fields(Inputs)]
# seven whole inputs for each example: on a busy machine Hypothesis takes that for a mistake
patient = settings(suppress_health_check=[HealthCheck.too_slow])


@st.composite
def edits(draw: st.DrawFn) -> list[Inputs]:
    """Each is the one before with some parts of another, as their owners would tell them."""
    history = [draw(inputs())]
    for other in draw(st.lists(inputs(), max_size=6)):
        told = draw(st.sets(st.sampled_from(PARTS), max_size=3))
        history.append(replace(history[-1], **{part: getattr(other, part) for part in told}))
        if draw(st.booleans()):
            history.append(draw(st.sampled_from(history)))
    return history


def check(compiler: SnapshotCompiler, given_inputs: Inputs) -> None:
    remembered, fresh = compiler.compile(given_inputs), compile_snapshot(given_inputs)
    assert remembered.resources == fresh.resources
    assert (remembered.revision, remembered.policy) == (fresh.revision, fresh.policy)


@patient
@given(edits())
def test_an_incremental_result_is_the_result_from_scratch(history: list[Inputs]):
    compiler = SnapshotCompiler()
    for given_inputs in history:
        check(compiler, given_inputs)


@patient
@given(edits(), st.data())
def test_one_item_more_or_less_is_seen(history: list[Inputs], data: st.DataObject):
    compiler = SnapshotCompiler()
    for given_inputs in history:
        compiler.compile(given_inputs)
        part = data.draw(st.sampled_from(PARTS))
        said = getattr(given_inputs, part)
        if said:
            gone = data.draw(st.integers(0, len(said) - 1))
            check(compiler, replace(given_inputs, **{part: said[:gone] + said[gone + 1 :]}))


def renewed(before: Inputs, after: Inputs) -> dict[str, list[str]]:
    """By type, the resources that were made anew, in short."""
    compiler = SnapshotCompiler()
    one, two = compiler.compile(before), compiler.compile(after)
    urls = {"cds": CDS, "eds": EDS, "rds": RDS, "srds": SRDS}
    found = {
        short: sorted(n for n, r in two.resources[url].items() if one.resources[url].get(n) is not r)
        for short, url in urls.items()
    }
    return {short: names for short, names in found.items() if names}


def test_a_changed_route_or_allocation_makes_its_own_table_anew_and_nothing_else():
    routes = tuple(replace(r, default_version="2") if r.model == "m7" else replace(r) for r in MANY.routes)
    shares = tuple(
        replace(a, ranges=(Range(0, 10, "x", "2"),)) if a.model == "m7" else replace(a) for a in MANY.allocations
    )
    assert renewed(MANY, replace(MANY, routes=routes)) == {"rds": ["model/m7"]}
    assert renewed(MANY, replace(MANY, allocations=shares)) == {"rds": ["model/m7"]}


def test_a_sick_server_makes_endpoints_anew_and_a_sick_version_its_model_s_table():
    sick = renewed(MANY, replace(MANY, unhealthy=(Unhealthy("a", "refuses"),)))
    assert sick.keys() == {"cds", "eds"}
    own = renewed(MANY, replace(MANY, unhealthy=(Unhealthy("a", "wrong", "m7", "2"),)))
    assert own["rds"] == ["model/m7"]


def test_a_fallback_to_another_model_is_followed():
    led = replace(MANY, routes=(*MANY.routes[1:], Route("m0", "1", (ModelVersion("m1", "1"),))))
    elsewhere = tuple(replace(d, servers=("c",)) if d.model == "m1" else d for d in MANY.deployments)
    assert renewed(led, replace(led, deployments=elsewhere))["rds"] == ["model/m0", "model/m1"]
