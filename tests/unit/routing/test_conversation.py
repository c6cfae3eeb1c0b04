"""The order in which an Envoy is told: what keeps calls from failing while policies change."""

from __future__ import annotations

import pytest

from services.routing.domain.snapshot import Resource
from services.routing.xds.conversation import Conversation, Request
from services.routing.xds.resources import CDS, EDS, RDS, SRDS


def resources(**versions: dict[str, str]):
    urls = {"cds": CDS, "eds": EDS, "srds": SRDS, "rds": RDS}
    return {urls[k]: {n: Resource(n.encode(), v) for n, v in named.items()} for k, named in versions.items()}


POLICY = resources(
    cds={"set": "1", "chain": "1"}, eds={"set": "1"}, srds={"m": "1"}, rds={"model/m": "1"}
)  # fmt: skip


def told(responses):
    return [(r.type_url, sorted(r.resources), r.removed) for r in responses]


class Envoy:
    """As Envoy behaves: asks for what it does not know, accepts in order."""

    def __init__(self, conversation: Conversation, had=None):
        self.conversation = conversation
        for url in (CDS, SRDS):
            conversation.hear(Request(url, had=(had or {}).get(url, {})))
        for url in (EDS, RDS):
            if (had or {}).get(url):
                conversation.hear(Request(url, subscribe=tuple(had[url]), had=had[url]))

    def ask(self, url, *names):
        self.conversation.hear(Request(url, subscribe=names))

    def accept(self, responses, error=None):
        for response in responses:
            self.conversation.hear(Request(response.type_url, nonce=response.nonce, error=error))

    def settle(self):
        """Accept all that comes and ask for what it names."""
        heard = []
        while responses := self.conversation.next():
            heard += told(responses)
            for response in responses:
                if response.type_url == CDS:
                    self.ask(EDS, *(n for n in response.resources if n.startswith("set")))
                if response.type_url == SRDS:
                    self.ask(RDS, *(f"model/{n}" for n in response.resources))
            self.accept(responses)
        return heard


def in_force(policy=POLICY):
    conversation = Conversation()
    conversation.aim(policy, whole=True)
    envoy = Envoy(conversation)
    envoy.settle()
    assert conversation.settled
    return conversation, envoy


def changed(**versions):
    other = resources(**versions)
    return {url: {**POLICY[url], **other.get(url, {})} for url in POLICY}


def test_clusters_come_before_endpoints_and_both_before_the_routes_that_name_them():
    conversation = Conversation()
    conversation.aim(POLICY, whole=True)
    envoy = Envoy(conversation)
    first = conversation.next()
    assert told(first) == [(CDS, ["chain", "set"], ())]
    assert conversation.next() == []
    envoy.ask(EDS, "set")
    endpoints = conversation.next()
    assert told(endpoints) == [(EDS, ["set"], ())], "Envoy acknowledges a cluster only when it has its endpoints"
    assert conversation.next() == []
    envoy.accept(first)
    assert conversation.next() == []
    envoy.accept(endpoints)
    scopes = conversation.next()
    assert told(scopes) == [(SRDS, ["m"], ())]
    envoy.ask(RDS, "model/m")
    envoy.accept(scopes)
    tables = conversation.next()
    assert told(tables) == [(RDS, ["model/m"], ())]
    assert not conversation.settled
    envoy.accept(tables)
    assert conversation.settled


def test_only_what_changed_is_sent():
    conversation, envoy = in_force()
    conversation.aim(changed(rds={"model/m": "2"}), whole=True)
    assert envoy.settle() == [(RDS, ["model/m"], ())]
    conversation.aim(changed(rds={"model/m": "2"}, eds={"set": "2"}), whole=True)
    assert envoy.settle() == [(EDS, ["set"], ())]


def test_a_changed_cluster_gets_its_endpoints_again():
    conversation, _ = in_force()
    conversation.aim(changed(cds={"set": "2"}), whole=True)
    assert told(conversation.next()) == [(CDS, ["set"], ())]
    assert told(conversation.next()) == [(EDS, ["set"], ())]


def test_what_is_gone_leaves_the_scopes_first_and_the_clusters_last():
    conversation, envoy = in_force()
    conversation.aim({CDS: {}, EDS: {}, SRDS: {}, RDS: {}}, whole=True)
    assert envoy.settle() == [(SRDS, [], ("m",))]
    conversation.hear(Request(RDS, unsubscribe=("model/m",)))
    assert conversation.settled
    assert told(conversation.sweep()) == [(CDS, [], ("chain", "set"))]
    assert conversation.sweep() == []


def test_an_envoy_that_comes_back_with_all_of_it_is_sent_nothing():
    had = {url: {name: r.version for name, r in named.items()} for url, named in POLICY.items()}
    conversation = Conversation()
    conversation.aim(POLICY, whole=True)
    envoy = Envoy(conversation, had)
    assert envoy.settle() == []
    assert conversation.settled


def test_without_a_policy_an_envoy_keeps_what_it_has_and_gets_the_doors():
    had = {url: {name: r.version for name, r in named.items()} for url, named in POLICY.items()}
    conversation = Conversation()
    conversation.aim(resources(srds={"default": "1"}, rds={"default": "1"}), whole=False)
    envoy = Envoy(conversation, had)
    assert envoy.settle() == [(SRDS, ["default"], ())]
    assert not conversation.settled
    assert conversation.sweep() == []
    envoy.ask(RDS, "model/m")
    assert conversation.next() == [], "nothing is said about what is not known yet"


TWO = resources(
    cds={"set": "1", "chain": "1", "set 2": "1", "chain 2": "1"},
    eds={"set": "1", "set 2": "1"},
    srds={"model/m": "1", "model/n": "1"},
    rds={"model/m": "1", "model/n": "1"},
)
NEEDS = {"chain": ["set"], "chain 2": ["set 2"], "model/m": ["chain"], "model/n": ["chain 2"]}


def two_models(**versions):
    """Each on a set and a chain of its own; with versions of resources that differ."""
    other = resources(**versions)
    return {
        url: {
            name: Resource(name.encode(), r.version, frozenset([name] if url == SRDS else NEEDS.get(name, ())))
            for name, r in {**TWO[url], **other.get(url, {})}.items()
        }
        for url in TWO
    }


class Choosy(Envoy):
    """Refuses every response with one of these (type, name, version)."""

    def __init__(self, conversation, *disliked):
        super().__init__(conversation)
        self.disliked = set(disliked)

    def accept(self, responses, error=None):
        for response in responses:
            said = {(response.type_url, name, r.version) for name, r in response.resources.items()}
            super().accept([response], error="no such thing" if said & self.disliked else error)

    def settle(self):
        """Bounded: a conversation that sends the refused again would never end."""
        heard = []
        for _ in range(50):
            responses = self.conversation.next()
            if not responses:
                return heard
            heard += told(responses)
            for response in responses:
                if response.type_url == CDS:
                    self.ask(EDS, *(n for n in response.resources if n.startswith("set")))
                if response.type_url == SRDS:
                    self.ask(RDS, *response.resources)
            self.accept(responses)
        raise AssertionError(heard)


def between(policy, *disliked):
    conversation = Conversation()
    conversation.aim(policy, whole=True)
    envoy = Choosy(conversation, *disliked)
    return conversation, envoy, envoy.settle()


def test_a_refused_assignment_is_not_sent_again_and_other_models_go_on():
    conversation, envoy, heard = between(two_models(), (EDS, "set 2", "1"))
    assert heard[:2] == [(CDS, ["chain", "chain 2", "set", "set 2"], ()), (EDS, ["set", "set 2"], ())]
    assert sorted(heard[2:4]) == [(EDS, ["set"], ()), (EDS, ["set 2"], ())], "Envoy does not say which one it means"
    assert heard[4:] == [(SRDS, ["model/m"], ()), (RDS, ["model/m"], ())]
    assert (conversation.at_rest, conversation.settled, conversation.held) == (True, False, {"model/n"})
    conversation.aim(two_models(eds={"set": "2"}, rds={"model/m": "2", "model/n": "2"}), whole=True)
    assert envoy.settle() == [(EDS, ["set"], ()), (RDS, ["model/m"], ())]
    conversation.aim(two_models(eds={"set": "2", "set 2": "3"}, rds={"model/m": "2", "model/n": "2"}), whole=True)
    assert envoy.settle() == [(EDS, ["set 2"], ()), (SRDS, ["model/n"], ()), (RDS, ["model/n"], ())]
    assert conversation.settled


@pytest.mark.parametrize("url", [CDS, SRDS, RDS])
def test_whatever_is_refused_is_not_sent_again_and_other_models_go_on(url):
    name = "chain 2" if url == CDS else "model/n"
    conversation, envoy, heard = between(two_models(), (url, name, "1"))
    assert sum(url == sent and name in names for sent, names, _ in heard) == 2, "among others, then alone"
    assert (RDS, ["model/m"], ()) in heard or (RDS, ["model/m", "model/n"], ()) in heard
    assert (conversation.at_rest, conversation.settled) == (True, False)
    conversation.aim(two_models(rds={"model/m": "2"}), whole=True)
    assert envoy.settle() == [(RDS, ["model/m"], ())]


def test_a_refused_cluster_holds_its_routes_back_but_not_endpoints():
    conversation, envoy, _ = between(two_models())
    assert conversation.settled
    envoy.disliked = {(CDS, "chain", "2")}
    conversation.aim(two_models(cds={"chain": "2"}, eds={"set": "2"}, rds={"model/m": "2"}), whole=True)
    assert envoy.settle() == [(CDS, ["chain"], ()), (EDS, ["set"], ())]
    assert not conversation.settled
    conversation.aim(two_models(cds={"chain": "3"}, eds={"set": "2"}, rds={"model/m": "2"}), whole=True)
    assert envoy.settle() == [(CDS, ["chain"], ()), (RDS, ["model/m"], ())]
    assert conversation.settled


def test_what_was_refused_and_is_gone_is_removed():
    conversation, envoy, _ = between(two_models())
    envoy.disliked = {(SRDS, "model/n", "2")}
    conversation.aim(two_models(srds={"model/n": "2"}), whole=True)
    envoy.settle()
    without = {url: {n: r for n, r in named.items() if n != "model/n"} for url, named in two_models().items()}
    conversation.aim(without, whole=True)
    assert envoy.settle() == [(SRDS, [], ("model/n",))]


def test_a_name_that_does_not_exist_is_answered():
    conversation, envoy = in_force()
    envoy.ask(RDS, "model/gone")
    assert told(conversation.next()) == [(RDS, [], ("model/gone",))]


def test_a_repeated_subscription_is_answered_again():
    conversation, envoy = in_force()
    envoy.ask(EDS, "set")
    assert told(conversation.next()) == [(EDS, ["set"], ())]


def test_large_policies_travel_in_several_messages():
    body = b"x" * 400_000
    policy = {CDS: {str(n): Resource(body, "1") for n in range(6)}, EDS: {}, SRDS: {}, RDS: {}}
    conversation = Conversation()
    conversation.aim(policy, whole=True)
    Envoy(conversation)
    assert [len(r.resources) for r in conversation.next()] == [2, 2, 2]
