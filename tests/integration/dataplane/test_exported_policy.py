"""Compiled policies are what they were, byte for byte, and Envoy itself finds them valid."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from deploy.local.envoy import program
from services.routing.domain.policy import (
    Allocation,
    Deployment,
    Exhausted,
    Inputs,
    LoadBalancing,
    ModelVersion,
    Range,
    Retries,
    Route,
    Server,
    Unhealthy,
)
from services.routing.xds.export import export
from services.routing.xds.resources import compile_snapshot
from tests.unit.routing.policies import inputs

GOLDEN = Path(__file__).parent / "golden"
SERVERS = (Server("a", "10.0.0.1", 8001), Server("b", "triton-b.internal", 8001, weight=2))
BOTH = tuple(Deployment("flight-delay", version, ("a", "b")) for version in ("1", "2"))
POLICIES = {
    "nothing": Inputs(),
    "one_route": Inputs(SERVERS, BOTH, (Route("flight-delay", "1"),)),
    "experiment_with_fallbacks": Inputs(
        servers=SERVERS,
        deployments=(*BOTH, Deployment("flight-delay", "3", ("b",)), Deployment("small", "1", ("a",))),
        routes=(
            Route(
                "flight-delay",
                "1",
                (ModelVersion("flight-delay", "3"), ModelVersion("small", "1")),
                LoadBalancing.ROUND_ROBIN,
                timeout=5.0,
                retries=Retries(attempts=7, per_try_timeout=0.5),
            ),
        ),
        allocations=(
            Allocation("e1", "flight-delay", "s\\1", (Range(0, 2500, "control", "1"), Range(2500, 5000, "new", "2"))),
            Allocation("e2", "flight-delay", "s\\1", (Range(9000, 10_000, "new", "2"),)),
        ),
        unhealthy=(Unhealthy("a", "refuses"),),
        exhausted=(Exhausted("acme"),),
    ),
    "nothing_to_serve_with": Inputs(SERVERS, (Deployment("m", "1", ()),), (Route("m", "1"), Route("n", "1"))),
}


def validated(configuration: Path) -> str:
    """What Envoy says against it; empty when it is valid."""
    command = [str(program()), "--mode", "validate", "-c", str(configuration), "-l", "error", "--disable-hot-restart"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr


@pytest.mark.parametrize("name", POLICIES)
def test_a_golden_policy_is_compiled_again_byte_for_byte_and_is_valid(name: str):
    golden = GOLDEN / f"{name}.yaml"
    assert export(compile_snapshot(POLICIES[name])) == golden.read_text()
    assert validated(golden) == ""


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(inputs())
def test_any_policy_is_valid(tmp_path: Path, given_inputs: Inputs):
    written = tmp_path / "policy.yaml"
    written.write_text(export(compile_snapshot(given_inputs)))
    assert validated(written) == ""
