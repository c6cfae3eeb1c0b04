"""What a store of exposures and outcomes promises, run on every store."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import services.experimentation
from libs.errors import AlreadyExists, NotFound
from libs.postgres import Database
from services.experimentation.domain.evidence import Evidence, Tally
from services.experimentation.domain.experiment import Draft, Experiment, State, Variant
from services.experimentation.domain.exposure import Delivery, Exposure, Taken
from services.experimentation.domain.outcome import Outcome, Reported
from services.experimentation.stores.evidence import PostgresEvidence
from services.experimentation.stores.experiments import PostgresExperiments
from tests.contract.experiments_in_memory import EvidenceInMemory, ExperimentsInMemory, at

MIGRATIONS = Path(services.experimentation.__file__).parent / "migrations"
VARIANTS = (Variant("a", "1", 5000), Variant("b", "2", 5000))
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


async def with_experiments(experiments):
    for name in ("x", "y"):
        await experiments.create(Experiment(Draft(name, "m", VARIANTS), "salt", State.RUNNING, NOON))


@pytest.fixture
async def in_memory():
    experiments = ExperimentsInMemory()
    await with_experiments(experiments)
    return EvidenceInMemory(experiments)


@pytest.fixture
async def in_postgres(fresh_database):
    database = Database(fresh_database, "experimentation", MIGRATIONS)
    await database.open()
    await with_experiments(PostgresExperiments(database))
    yield PostgresEvidence(database)
    await database.close()


@pytest.fixture(params=["in_memory", "in_postgres"])
def store(request):
    return request.getfixturevalue(request.param)


def exposure(request_id, unit, variant="a", seconds=0.0, experiment="x", hop="ingress"):
    return Exposure(request_id, hop, experiment, unit, variant, int(seconds * 1e9))


def delivery(start, end, *exposures, proxy="envoy", file="f1", unreadable=0):
    return Delivery(proxy, file, start, end, exposures, unreadable)


def outcome(outcome_id, unit="", positive=True, request_id="", experiment="x"):
    return Outcome(experiment, outcome_id, unit, positive, at(1.5), request_id)


async def test_lines_are_taken_in_order_and_once(store):
    first, second = delivery(0, 100, exposure("r1", "u1")), delivery(100, 150, exposure("r2", "u1"))
    assert await store.take(first) == Taken(100, lines=True, exposures=1)
    assert await store.take(first) == Taken(100, lines=False)
    assert await store.take(second) == Taken(150, lines=True, exposures=1)
    assert (await store.evidence("x")).tallies == {"a": Tally(units=1, exposures=2)}


@pytest.mark.parametrize(("start", "end"), [(50, 120), (0, 120), (101, 120), (0, 100), (0, 50)])
async def test_lines_that_do_not_follow_change_nothing_and_are_told_where_to_go(store, start, end):
    await store.take(delivery(0, 100))
    assert await store.take(delivery(start, end, exposure("r1", "u1"))) == Taken(100, lines=False)
    assert (await store.evidence("x")).tallies == {}


async def test_a_new_file_begins_at_its_beginning(store):
    assert await store.take(delivery(7, 9, exposure("r1", "u1"))) == Taken(0, lines=False)
    assert await store.take(delivery(0, 9, exposure("r1", "u1"))) == Taken(9, lines=True, exposures=1)


async def test_files_and_proxies_have_places_of_their_own(store):
    assert (await store.take(delivery(0, 10))).committed == 10
    assert (await store.take(delivery(0, 20, file="f2"))).committed == 20
    assert (await store.take(delivery(0, 30, proxy="other"))).committed == 30
    assert (await store.take(delivery(10, 11))).committed == 11


async def test_a_line_that_comes_in_two_files_counts_once(store):
    await store.take(delivery(0, 10, exposure("r1", "u1"), exposure("r1", "u1"), exposure("r1", "u1", hop="mesh")))
    assert (await store.take(delivery(0, 10, exposure("r1", "u1"), exposure("r2", "u2"), file="f2"))).exposures == 1
    assert (await store.evidence("x")).tallies == {"a": Tally(units=2, exposures=3)}


async def test_a_unit_counts_for_its_earliest_variant_in_whatever_order_lines_come(store):
    await store.take(delivery(0, 10, exposure("r5", "u", "b", 5), exposure("r6", "v", "b", 5)))
    assert (await store.evidence("x")).mixed_units == 0
    await store.take(delivery(10, 20, exposure("r3", "u", "a", 3), exposure("r7", "v", "a", 7)))
    await store.take(delivery(20, 30, exposure("r4", "u", "b", 4)))
    assert await store.evidence("x") == Evidence(
        {"a": Tally(units=1, exposures=3), "b": Tally(units=1, exposures=2)}, mixed_units=2
    )


async def test_two_variants_in_one_delivery_are_mixed(store):
    await store.take(delivery(0, 10, exposure("r2", "u", "b", 2), exposure("r1", "u", "a", 1)))
    assert await store.evidence("x") == Evidence({"a": Tally(units=1, exposures=2)}, mixed_units=1)


async def test_outcomes_join_the_units_first_variant(store):
    await store.take(delivery(0, 10, exposure("r1", "u1"), exposure("r2", "u2", "b")))
    reported = await store.report([outcome("o1", "u1"), outcome("o2", "u2", positive=False), outcome("o3", "u1")])
    assert reported == Reported(accepted=3, repeated=0, waiting=0)
    assert (await store.evidence("x")).tallies == {"a": Tally(1, 1, 2, 2), "b": Tally(1, 1, 1, 0)}


async def test_an_outcome_before_its_exposure_waits_for_it(store):
    by_unit, by_request = outcome("o1", "u1"), outcome("o2", request_id="r2")
    assert await store.report([by_unit, by_request]) == Reported(2, 0, waiting=2)
    assert await store.evidence("x") == Evidence({}, waiting_outcomes=2)
    await store.take(delivery(0, 10, exposure("r1", "u1")))
    assert await store.evidence("x") == Evidence({"a": Tally(1, 1, 1, 1)}, waiting_outcomes=1)
    await store.take(delivery(10, 20, exposure("r2", "u2", "b")))
    assert await store.evidence("x") == Evidence({"a": Tally(1, 1, 1, 1), "b": Tally(1, 1, 1, 1)})


async def test_an_outcome_that_names_a_request_waits_for_that_one(store):
    await store.take(delivery(0, 10, exposure("r1", "u1"), exposure("r2", "u2"), exposure("r3", "u1", experiment="y")))
    await store.report([outcome("o1", "u1", request_id="r9")])
    await store.report([outcome("o2", "u1", request_id="r2")])
    await store.report([outcome("o3", "u1", request_id="r3")])
    assert await store.evidence("x") == Evidence({"a": Tally(2, 2)}, waiting_outcomes=3)
    await store.take(delivery(10, 20, exposure("r9", "u1")))
    assert await store.evidence("x") == Evidence({"a": Tally(2, 3, 1, 1)}, waiting_outcomes=2)


async def test_an_outcome_of_a_request_counts_for_the_units_first_variant_and_once(store):
    await store.take(delivery(0, 10, exposure("r1", "u", "a", 1), exposure("r2", "u", "b", 2)))
    await store.take(delivery(10, 20, exposure("r2", "u", "b", 2, hop="mesh")))
    await store.report([outcome("o1", request_id="r2")])
    assert (await store.evidence("x")).tallies == {"a": Tally(1, 3, 1, 1)}


async def test_a_repeated_outcome_changes_nothing(store):
    assert await store.report([outcome("o1", "u1"), outcome("o1", "u1")]) == Reported(1, 1, 1)
    assert await store.report([outcome("o1", "u1"), outcome("o2", "u1")]) == Reported(1, 1, 1)
    assert await store.report([outcome("o1", "u1", experiment="y")]) == Reported(1, 0, 1)
    assert (await store.evidence("x")).waiting_outcomes == 2


@pytest.mark.parametrize("change", [{"positive": False}, {"unit": "other"}, {"request_id": "r"}, {"event_time": at(2)}])
async def test_an_id_that_names_another_outcome_is_refused_and_nothing_is_written(store, change):
    await store.report([outcome("o1", "u1")])
    with pytest.raises(AlreadyExists) as refused:
        await store.report([outcome("new", "u1"), replace(outcome("o1", "u1"), **change)])
    assert refused.value.reason == "REQUEST_ID_REUSED"
    with pytest.raises(AlreadyExists):
        await store.report([outcome("new", "u1"), replace(outcome("new", "u1"), **change)])
    assert (await store.evidence("x")).waiting_outcomes == 1


async def test_an_unknown_experiment_is_refused_and_nothing_is_written(store):
    with pytest.raises(NotFound, match="'no', 'nor'") as refused:
        await store.report(
            [outcome("o1", "u1"), outcome("o2", "u", experiment="no"), outcome("o2", "u", experiment="nor")]
        )
    assert refused.value.reason == "EXPERIMENT_NOT_FOUND"
    assert (await store.evidence("x")).waiting_outcomes == 0


async def test_nothing_to_report_is_nothing(store):
    assert await store.report([]) == Reported(0, 0, 0)


units = st.sampled_from(["u1", "u2", "u3"])
events = st.one_of(
    st.builds(
        exposure,
        st.sampled_from(["r1", "r2", "r3", "r4"]),
        units,
        st.sampled_from("ab"),
        st.integers(0, 3),
        st.sampled_from("xy"),
        st.sampled_from(["ingress", "mesh"]),
    ),
    st.builds(
        outcome,
        st.sampled_from(["o1", "o2", "o3"]),
        st.one_of(st.just(""), units),
        st.booleans(),
        st.sampled_from(["", "r1", "r2"]),
        st.sampled_from("xy"),
    ).filter(lambda o: o.unit or o.request_id),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(events, max_size=25))
def test_both_stores_tell_the_same_story(fresh_database, history):
    async def tell():
        database = Database(fresh_database, "experimentation", MIGRATIONS)
        await database.open()
        async with database.connection() as connection:
            await connection.execute("TRUNCATE experiment, layer, variant, delivery, exposure, exposed_unit, outcome")
        memory, postgres = ExperimentsInMemory(), PostgresExperiments(database)
        stories = []
        for experiments, store in ((memory, EvidenceInMemory(memory)), (postgres, PostgresEvidence(database))):
            await with_experiments(experiments)
            story = [await happen(store, at, event) for at, event in enumerate(history)]
            stories.append([*story, await store.evidence("x"), await store.evidence("y")])
        await database.close()
        return stories

    one, other = asyncio.run(tell())
    assert one == other


async def happen(store, place, event):
    if isinstance(event, Exposure):
        return await store.take(delivery(0, 1, event, file=f"f{place}"))
    try:
        return await store.report([event])
    except AlreadyExists as refused:
        return refused.reason
