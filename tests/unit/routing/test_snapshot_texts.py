"""What people read of a snapshot is YAML, of every resource that a policy has, and never endless."""

import yaml
from hypothesis import given, settings

from services.routing.domain.parts import bodies_of, encode, input_groups, named_inputs, resources_of
from services.routing.domain.policy import ApiKey, Inputs
from services.routing.servers.texts import LONGEST_TEXT, Texts, cut
from services.routing.xds.access import FILTER
from services.routing.xds.messages import (
    Cluster,
    ClusterLoadAssignment,
    RouteConfiguration,
    ScopedRouteConfiguration,
    TypedExtensionConfig,
)
from services.routing.xds.resources import ECDS, compile_snapshot
from tests.unit.routing.policies import inputs

MESSAGES = (Cluster, ClusterLoadAssignment, RouteConfiguration, ScopedRouteConfiguration, TypedExtensionConfig)
TEXTS = Texts({message.DESCRIPTOR.name: message for message in MESSAGES})


@settings(deadline=None, max_examples=25)
@given(inputs())
def test_every_part_can_be_written_and_read(given_inputs):
    snapshot = compile_snapshot(given_inputs)
    resources = resources_of(snapshot)
    bodies = bodies_of(snapshot, resources)
    for (kind, name), version in resources.items():
        read = yaml.safe_load(TEXTS.yaml(kind, bodies[version]))
        assert name in (read.get("name"), read.get("cluster_name"))
    for kind, group in input_groups(given_inputs).items():
        for name, each in named_inputs(kind, group).items():
            read = yaml.safe_load(TEXTS.yaml(kind, encode(each)))
            assert kind != "route" or read["model"] == name


def test_a_text_tells_who_has_a_key_and_not_its_hash():
    held = ApiKey("aaaaaaaaaaaa", "0123456789abcdef" * 4, "acme", "app", ("caller",))
    gate = compile_snapshot(Inputs(keys=(held,)), authentication=True).resources[ECDS][FILTER]
    assert held.sha256.encode() in gate.body
    text = TEXTS.yaml("TypedExtensionConfig", gate.body)
    assert "key … acme app caller" in text
    assert held.sha256 not in text


def test_a_long_text_is_cut_at_a_line():
    line = "x" * 99 + "\n"
    assert cut(line) == line
    lines = cut(line * 1000).splitlines()
    assert len("\n".join(lines)) < LONGEST_TEXT + 100
    assert set(lines[:-1]) == {"x" * 99}
    assert lines[-1] == "# cut off: 100000 characters in all"
