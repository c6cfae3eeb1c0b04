"""Which lines of the record log are exposures."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.experimentation.domain.exposure import Exposure, Judgement, Served, sift

KNOWN = {"delays": frozenset({"linear", "boosted"})}
SERVED = Served("r1", "ingress", 1_763_700_000_000_000_000, "delays", "boosted", "N1", 0, "", True, False)


def test_a_served_unit_is_exposed():
    exposures, judged = sift([SERVED], KNOWN)
    assert exposures == [Exposure("r1", "ingress", "delays", "N1", "boosted", SERVED.start_ns)]
    assert judged == {Judgement.EXPOSURE: 1}


@pytest.mark.parametrize(
    ("change", "judgement"),
    [
        ({"experiment": ""}, Judgement.NO_EXPERIMENT),
        ({"unit": ""}, Judgement.NO_UNIT),
        ({"mirrored": True}, Judgement.MIRRORED),
        ({"reached_server": False}, Judgement.NOT_SERVED),
        ({"grpc_status": 14}, Judgement.FAILED),
        ({"degraded": "fallback-model"}, Judgement.DEGRADED),
        ({"request_id": ""}, Judgement.MALFORMED),
        ({"request_id": "r" * 257}, Judgement.MALFORMED),
        ({"unit": "u" * 1025}, Judgement.MALFORMED),
        ({"unit": "a\0"}, Judgement.MALFORMED),
        ({"start_ns": -1}, Judgement.MALFORMED),
        ({"start_ns": 1 << 63}, Judgement.MALFORMED),
        ({"experiment": "other"}, Judgement.UNKNOWN_EXPERIMENT),
        ({"variant": "other"}, Judgement.UNKNOWN_VARIANT),
        ({"variant": ""}, Judgement.UNKNOWN_VARIANT),
    ],
)
def test_anything_else_is_counted_for_what_it_is(change, judgement):
    exposures, judged = sift([replace(SERVED, **change)], KNOWN)
    assert exposures == []
    assert judged == {judgement: 1}


records = st.builds(
    Served,
    request_id=st.text(max_size=300),
    hop=st.sampled_from(["ingress", "mesh", "mirror"]),
    start_ns=st.integers(),
    experiment=st.sampled_from(["", "delays", "other"]),
    variant=st.sampled_from(["", "linear", "boosted", "other"]),
    unit=st.text(max_size=1100),
    grpc_status=st.integers(0, 16),
    degraded=st.sampled_from(["", "fallback-model"]),
    reached_server=st.booleans(),
    mirrored=st.booleans(),
)


@given(st.lists(records))
def test_every_line_is_judged_once(lines):
    exposures, judged = sift(lines, KNOWN)
    assert judged.total() == len(lines)
    assert judged[Judgement.EXPOSURE] == len(exposures)
