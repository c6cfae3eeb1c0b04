"""Alerts name metrics that there are, and say what to do."""

import re

import pytest
import yaml

from tests.e2e.exposition import PAGE, listed, tables

ALERTS = PAGE.parents[1] / "deploy" / "observability" / "alerts.yaml"
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
METRICS = {
    name: family
    for heading, found in tables().items()
    if len(found) == 1 and {"name", "type", "labels"} <= found[0][0].keys()
    for name, family in listed(heading).items()
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_names_metrics_that_are_exposed_and_says_what_to_do(rule):
    named = re.findall(r"\b(?:penstock|ai)_\w+", rule["expr"])
    assert named
    assert [name for name in named if name not in METRICS] == []
    grouped = [label for labels in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in labels.split(",")]
    assert all(label.strip() in METRICS[name].labels for name in named for label in grouped)
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert {"summary", "what_to_do"} <= rule["annotations"].keys()


def test_counters_are_looked_at_as_increases():
    counters = [name for name, family in METRICS.items() if family.type == "counter"]
    for rule in RULES:
        for name in counters:
            assert not re.search(rf"(?<!increase\(){name}\b", rule["expr"])


def test_no_rule_stands_twice():
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names))
