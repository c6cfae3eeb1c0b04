"""Whatever the policies were before, an Envoy ends with the last one: nothing is left out, nothing is left over."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.routing.domain.snapshot import Resource
from services.routing.xds.conversation import Conversation, Request
from services.routing.xds.resources import CDS, EDS, RDS, SRDS

versions = st.sampled_from(("", "1", "2"))
policies = st.fixed_dictionaries(
    {
        "sets": st.dictionaries(st.sampled_from(("set a", "set b")), st.tuples(versions, versions)),
        "tables": st.dictionaries(st.sampled_from(("model/m", "model/n", "model/o")), versions),
    }
)


def resources(policy):
    """A set is a cluster with endpoints, a table has a scope; contents of an empty version are as good as any."""
    sets, tables = policy["sets"], policy["tables"]
    return {
        CDS: {name: Resource(b"", "c" + cluster) for name, (cluster, _) in sets.items()},
        EDS: {name: Resource(b"", "e" + endpoints) for name, (_, endpoints) in sets.items()},
        SRDS: {name: Resource(b"", "s") for name in tables},
        RDS: {name: Resource(b"", "r" + version) for name, version in tables.items()},
    }


WITHIN = {CDS: EDS, SRDS: RDS}


class Envoy:
    """Keeps what it is sent; asks for the endpoints of its clusters and the tables of its scopes, and drops them."""

    def __init__(self, conversation):
        self.conversation = conversation
        self.has = {url: {} for url in (CDS, EDS, SRDS, RDS)}
        self.connect(conversation)

    def connect(self, conversation):
        """Again: everything it has is told."""
        self.conversation = conversation
        for url in (CDS, SRDS):
            conversation.hear(Request(url, had=dict(self.has[url])))
        for url in (EDS, RDS):
            if self.has[url]:
                conversation.hear(Request(url, subscribe=tuple(self.has[url]), had=dict(self.has[url])))

    def take(self, response):
        url = response.type_url
        fresh = [name for name in response.resources if name not in self.has[url]]
        gone = [name for name in response.removed if self.has[url].pop(name, None)]
        self.has[url] |= {name: r.version for name, r in response.resources.items()}
        named = WITHIN.get(url)
        if named and fresh:
            self.conversation.hear(Request(named, subscribe=tuple(fresh)))
        if named and gone:
            for name in gone:
                self.has[named].pop(name, None)
            self.conversation.hear(Request(named, unsubscribe=tuple(gone)))
        self.conversation.hear(Request(url, nonce=response.nonce))

    def settle(self):
        for _ in range(50):
            responses = self.conversation.next()
            if not responses:
                return
            for response in responses:
                self.take(response)
        raise AssertionError("it never ends")


@given(st.lists(st.tuples(policies, st.sampled_from(("settle", "hurry", "reconnect"))), min_size=1, max_size=8))
def test_an_envoy_ends_with_the_last_policy(history):
    conversation = Conversation()
    envoy = Envoy(conversation)
    for policy, then in history:
        target = resources(policy)
        if then == "reconnect":
            conversation = Conversation()
            conversation.aim(target, whole=True)
            envoy.connect(conversation)
        conversation.aim(target, whole=True)
        if then != "hurry":
            envoy.settle()
    envoy.settle()
    assert conversation.settled
    for response in conversation.sweep():
        envoy.take(response)
    wanted = {url: {name: r.version for name, r in named.items()} for url, named in target.items()}
    assert envoy.has == wanted
    assert conversation.next() == conversation.sweep() == []
