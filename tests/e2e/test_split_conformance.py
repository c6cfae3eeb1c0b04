"""The one assignment function: Envoy, libs and ExplainRoute agree on every unit."""

from concurrent.futures import ThreadPoolExecutor

from libs.assignment import Range, bucket, owner
from penstock.routing.v1.explanation_pb2 import REASON_DEFAULT, REASON_EXPERIMENT
from tests.models import answered_by, infer_request
from tests.serving import explain

# gRPC's Python client sends ASCII only; what else a key may hold is tested against Envoy in tests/integration/dataplane
ODD = ["a b", "x" * 900, "-", "0", "%00", "a:b", "q=1;r", "~", "{}", "a,b"]
UNITS = [*(f"unit-{n}" for n in range(10_000 - len(ODD))), *ODD]
DEFAULT = "3"


def test_ten_thousand_units_land_where_libs_says(infer, split):
    owned = [Range(r.start, r.end, r.variant, r.version) for r in split.ranges]
    request = infer_request("split")

    def served(unit):
        return answered_by(infer(request, timeout=10, metadata=[("x-penstock-routing-key", unit)]))

    def expected(unit):
        owns = owner(owned, bucket(unit, split.salt))
        return owns.version if owns else DEFAULT

    with ThreadPoolExecutor(16) as callers:
        got = dict(zip(UNITS, callers.map(served, UNITS), strict=True))
    wrong = {unit: (got[unit], expected(unit)) for unit in UNITS if got[unit] != expected(unit)}
    assert not wrong
    assert set(got.values()) == {"1", "2", "3"}


def test_explain_agrees_with_a_thousand_real_calls(penstock, infer, split):
    request = infer_request("split")

    def compared(unit):
        explanation = explain(penstock, "split", unit)
        response, call = infer.with_call(request, timeout=10, metadata=[("x-penstock-routing-key", unit)])
        headers = dict(call.initial_metadata())
        told = (explanation.chain[0], explanation.experiment, explanation.variant)
        happened = (
            answered_by(response),
            headers.get("x-penstock-experiment", ""),
            headers.get("x-penstock-variant", ""),
        )
        reason = REASON_EXPERIMENT if explanation.experiment else REASON_DEFAULT
        return told == happened and explanation.reason == reason and explanation.bucket == bucket(unit, split.salt)

    units = [f"caller-{n}" for n in range(1_000)]
    with ThreadPoolExecutor(8) as callers:
        assert all(callers.map(compared, units))
