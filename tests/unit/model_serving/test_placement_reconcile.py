"""What the control loop decides: by example, and held to its invariants against a simulated server."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.model_serving.domain.deployment import PlacementState
from services.model_serving.domain.reconcile import Load, Seen, Unload, Unseen, reconcile
from tests.unit.model_serving.model_versions import NOON, placement, wanted

PENDING, LOADING, READY = PlacementState.PENDING, PlacementState.LOADING, PlacementState.READY
FAILED, UNLOADING = PlacementState.FAILED, PlacementState.UNLOADING
DRAIN = timedelta(seconds=2)
OURS = "registry-1"


def decide(those, seen, busy=(), now=NOON):
    return reconcile(those, seen, busy, now, owner=OURS, drain=DRAIN)


def has(*versions, owner=OURS, model="shift"):
    """A server that has these versions of a model ready."""
    return Seen(frozenset((model, v) for v in versions), {model: owner} if versions else {})


def states(plan):
    return {change.key[1]: change.after.state if change.after else None for change in plan.changes}


def test_what_is_wanted_is_loaded_beside_what_serves():
    plan = decide([wanted("1", READY), wanted("2"), wanted("3")], has("1"))
    (load,) = plan.work
    assert [w.version.version for w in load.keep] == ["1"]
    assert [w.version.version for w in load.add] == ["2", "3"]
    assert states(plan) == {"2": LOADING, "3": LOADING}


def test_nothing_is_begun_twice():
    assert not decide([wanted("1", LOADING)], has(), busy={"shift"}).work


def test_a_load_that_nobody_finishes_is_begun_again():
    assert isinstance(decide([wanted("1", LOADING)], has()).work[0], Load)


def test_only_what_the_server_says_is_ready_becomes_ready():
    plan = decide([wanted("1", LOADING), wanted("2", LOADING)], has("1"))
    assert states(plan) == {"1": READY, "2": LOADING}


def test_what_is_found_loaded_is_not_loaded_again():
    plan = decide([wanted("1")], has("1"))
    assert states(plan) == {"1": READY}
    assert not plan.work


def test_a_server_that_came_back_empty_loses_its_traffic_first():
    plan = decide([wanted("1", READY)], has())
    assert states(plan) == {"1": PENDING}
    assert not plan.work


IN_EVERY_STATE = [wanted("1", READY), wanted("2", LOADING), wanted("3", FAILED), wanted("4", UNLOADING), wanted("5")]


def test_a_server_that_is_gone_has_nothing_ready():
    plan = decide(IN_EVERY_STATE, Unseen.GONE)
    assert states(plan) == {"1": PENDING, "2": PENDING, "3": PENDING, "4": None, "5": PENDING}
    assert {change.after.message for change in plan.changes if change.after} == {Unseen.GONE.value}
    assert not decide([wanted("1", PENDING, message=Unseen.GONE.value)], Unseen.GONE).changes


def test_what_was_ready_on_a_server_that_is_gone_goes_unless_it_is_the_last():
    plan = decide(IN_EVERY_STATE, Unseen.GONE)
    assert {change.key[1] for change in plan.changes if change.unless_last} == {"1"}
    (lost,) = decide([wanted("1", READY)], Unseen.GONE, busy={"shift"}).changes
    assert lost.unless_last


def test_nothing_is_ready_on_ourselves():
    plan = decide(IN_EVERY_STATE, Unseen.OURSELVES, busy={"shift"})
    assert states(plan) == {"1": PENDING, "2": PENDING, "3": PENDING, "4": None, "5": PENDING}
    assert {change.after.message for change in plan.changes if change.after} == {Unseen.OURSELVES.value}
    assert not any(change.unless_last for change in plan.changes)
    assert not plan.work


def test_a_silent_server_keeps_its_traffic_and_its_work():
    plan = decide(IN_EVERY_STATE, Unseen.SILENT)
    assert states(plan) == {"2": PENDING, "5": PENDING}
    assert {change.after.message for change in plan.changes} == {Unseen.SILENT.value}
    assert not decide(IN_EVERY_STATE, Unseen.SILENT, busy={"shift"}).changes


def test_a_server_that_answers_without_a_version_loses_its_traffic_even_if_it_is_the_last():
    (lost,) = decide([wanted("1", READY)], has()).changes
    assert not lost.unless_last


def test_a_refused_version_waits_before_it_is_tried_again():
    failed = wanted("1", FAILED)
    failed = replace(failed, placement=failed.placement.refused(NOON, "no"))
    assert not decide([failed], has(), now=NOON + timedelta(seconds=0.9)).work
    assert decide([failed], has(), now=NOON + timedelta(seconds=1)).work


def test_the_pause_grows_to_a_minute():
    tried = placement(LOADING)
    pauses = []
    for _ in range(9):
        tried = tried.refused(NOON, "no")
        pauses.append((tried.retry_time - NOON).total_seconds())
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert tried.enter(READY, NOON).attempts == 0


def test_traffic_leaves_before_the_model_does():
    leaving = wanted("1", UNLOADING)
    assert not decide([leaving], has("1"), now=NOON + timedelta(seconds=1.9)).work
    (unload,) = decide([leaving], has("1"), now=NOON + DRAIN).work
    assert isinstance(unload, Unload)


def test_a_version_is_dropped_and_the_others_stay():
    (load,) = decide([wanted("1", UNLOADING), wanted("2", READY)], has("1", "2"), now=NOON + DRAIN).work
    assert [w.version.version for w in load.keep] == ["2"]
    assert [w.version.version for w in load.drop] == ["1"]


def test_a_version_whose_traffic_still_leaves_is_kept_by_a_load():
    (load,) = decide([wanted("1", UNLOADING), wanted("2")], has("1")).work
    assert [w.version.version for w in load.keep] == ["1"]


def test_what_is_gone_is_forgotten():
    assert states(decide([wanted("1", UNLOADING)], has())) == {"1": None}


def test_a_model_that_somebody_else_loaded_is_left_alone():
    plan = decide([wanted("1")], has("7", owner=""))
    assert states(plan) == {"1": FAILED}
    assert "did not load" in plan.changes[0].after.message
    assert not plan.work
    assert not decide([wanted("1")], has("1", owner="registry-2")).work


def test_an_external_version_is_ready_when_its_server_has_it():
    assert states(decide([wanted("7", digest="")], has("7", owner=""))) == {"7": READY}


def test_an_external_version_does_not_take_the_place_of_uploaded_ones():
    assert states(decide([wanted("7", digest="")], has("1"))) == {"7": FAILED}


def test_dropping_one_external_version_leaves_the_model_to_the_others():
    those = [wanted("1", UNLOADING, digest=""), wanted("2", READY, digest="")]
    plan = decide(those, has("1", "2", owner=""), now=NOON + DRAIN)
    assert states(plan) == {"1": None}
    assert not plan.work


VERSIONS = ["1", "2", "3", "4"]


class Server(RuleBasedStateMachine):
    """One server under a loop whose work takes a round; version 4 cannot be loaded."""

    def __init__(self):
        super().__init__()
        self.now = NOON
        self.placements = {}
        self.loaded = set()
        self.unseen = None
        self.alone = False
        self.kept = set()
        self.work = []

    @rule(version=st.sampled_from(VERSIONS))
    def want(self, version):
        if version not in self.placements:
            self.placements[version] = placement(update_time=self.now)

    @rule(version=st.sampled_from(VERSIONS))
    def leave(self, version):
        if version in self.placements and self.placements[version].state is not UNLOADING:
            self.placements[version] = self.placements[version].enter(UNLOADING, self.now)

    @rule()
    def die_and_come_back_empty(self):
        self.loaded = set()
        self.work = []
        self.unseen = Unseen.GONE
        self.round()
        self.unseen = None

    @rule(silent=st.booleans())
    def be_silent(self, silent):
        self.unseen = Unseen.SILENT if silent else None

    @rule(alone=st.booleans())
    def be_alone(self, alone):
        """Whether no other server has any version ready."""
        self.alone = alone

    @rule(seconds=st.sampled_from([0.5, 3.0, 61.0]))
    def tick(self, seconds):
        self.now += timedelta(seconds=seconds)
        self.round()

    @precondition(lambda self: self.work and not self.unseen)
    @rule()
    def finish(self):
        serving = {v for v, p in self.placements.items() if p.state is READY}
        before = self.loaded
        work = self.work.pop()
        if isinstance(work, Unload):
            self.loaded = set()
        else:
            self._load(work)
        assert serving & before <= self.loaded, "a version that serves was unloaded"

    def _load(self, work):
        """All of it or nothing; then each alone beside what stayed."""
        keep = {w.version.version for w in work.keep}
        add = [w.version.version for w in work.add]
        if "4" not in add:
            self.loaded = keep | set(add)
            return
        for version in add:
            if version != "4":
                keep.add(version)
                self.loaded = set(keep)
            elif self.placements.get("4") and self.placements["4"].state is LOADING:
                self.placements["4"] = self.placements["4"].refused(self.now, "broken")

    def round(self):
        those = [wanted(v, p.state) for v, p in self.placements.items()]
        those = [replace(w, placement=self.placements[w.version.version]) for w in those]
        busy = {work.model for work in self.work}
        self.kept = set() if self.unseen is None else self.kept
        plan = decide(those, self.unseen or has(*self.loaded), busy, self.now)
        for change in plan.changes:
            if change.unless_last and self.alone:
                self.kept.add(change.key[1])
                continue
            assert self.placements[change.key[1]] == change.before
            if change.after is None:
                del self.placements[change.key[1]]
            else:
                self.placements[change.key[1]] = change.after
        assert len({work.model for work in plan.work} | busy) == len(plan.work) + len(busy)
        self.work += plan.work

    @invariant()
    def ready_is_what_the_server_has(self):
        ready = {v for v, p in self.placements.items() if p.state is READY}
        assert ready <= self.loaded | self.kept

    def teardown(self):
        """Left alone, everything gets where it should be."""
        self.unseen = None
        for _ in range(20):
            self.tick(61.0)
            while self.work:
                self.finish()
        self.round()
        assert {v: p.state for v, p in self.placements.items() if v != "4"} == {
            v: READY for v in self.placements if v != "4"
        }
        assert self.placements.get("4") is None or self.placements["4"].state is FAILED
        assert self.loaded == {v for v in self.placements if v != "4"}


TestServer = Server.TestCase
TestServer.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
