"""Records from the wire: each is booked or set aside, whatever it holds."""

from datetime import UTC, datetime

import pytest
from google.protobuf import text_format
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import Invalid
from penstock.accesslog.v1.record_pb2 import HOP_INGRESS, HOP_MIRROR, AccessRecord, RecordBatch
from services.cost_tracking.domain.usage import Hop
from services.cost_tracking.servers.records import decode

START = Timestamp(seconds=1_795_269_600, nanos=123_456_789)
texts = st.one_of(st.text(max_size=8), st.just("x" * 300))
records = st.builds(
    AccessRecord,
    request_id=texts,
    hop=st.integers(0, 5),
    start_time=st.one_of(
        st.none(),
        st.builds(Timestamp, seconds=st.integers(-(2**63), 2**63 - 1), nanos=st.integers(-(2**31), 2**31 - 1)),
    ),
    upstream_us=st.integers(0, 2**64 - 1),
    tenant=texts,
    model=texts,
    version=texts,
    principal=texts,
    grpc_status=st.integers(0, 2**32 - 1),
    http_status=st.integers(0, 2**32 - 1),
    attempts=st.integers(0, 2**32 - 1),
    bytes_in=st.integers(0, 2**64 - 1),
    bytes_out=st.integers(0, 2**64 - 1),
    reached_server=st.booleans(),
)


def batch(*records, **change):
    return RecordBatch(**{"proxy": "envoy", "file": "f", "start_offset": 5, "end_offset": 9, **change}, records=records)


def record(**change):
    return AccessRecord(**{"request_id": "r", "hop": HOP_INGRESS, "start_time": START, **change})


def test_a_record_is_read_field_by_field():
    said = record(upstream_host="10.0.0.1:8001", upstream_us=77, reached_server=True, experiment="e", variant="v")
    read = decode(batch(said, record(request_id="s", hop=HOP_MIRROR)))
    assert (read.proxy, read.file, read.start, read.end, read.malformed) == ("envoy", "f", 5, 9, ())
    usage, other = read.usages
    assert usage.start_time == datetime.fromtimestamp(1_795_269_600, UTC).replace(microsecond=123_456)
    assert (usage.server, usage.upstream_us, usage.experiment, usage.variant) == ("10.0.0.1:8001", 77, "e", "v")
    assert (usage.hop, other.hop) == (Hop.INGRESS, Hop.MIRROR)


def test_a_copy_is_paid_for_by_the_account_of_mirrors_whoever_called():
    said = (record(request_id=f"r{hop}", hop=hop, tenant="acme") for hop in (HOP_INGRESS, HOP_MIRROR))
    assert [usage.tenant for usage in decode(batch(*said)).usages] == ["acme", "@mirror"]


@pytest.mark.parametrize(
    "said",
    [
        record(request_id=""),
        record(hop=0),
        record(hop=9),
        AccessRecord(request_id="r", hop=HOP_INGRESS),
        record(start_time=Timestamp(seconds=2**62)),
        record(request_id="r" * 257),
        record(model="é" * 129),
        record(principal="a\0b"),
        record(upstream_us=2**63),
        record(bytes_in=2**63),
        record(grpc_status=2**31),
    ],
)
def test_what_has_no_usable_key_or_bounds_is_set_aside_word_for_word(said):
    read = decode(batch(said, record()))
    assert [usage.request_id for usage in read.usages] == ["r"]
    (aside,) = read.malformed
    assert aside.reason == "malformed"
    assert "\0" not in aside.content
    assert text_format.Parse(aside.content, AccessRecord()) == said


@given(st.lists(records, max_size=5))
def test_no_record_is_lost_and_none_stops_the_others(said):
    read = decode(batch(*said))
    assert len(read.usages) + len(read.malformed) == len(said)
    assert all(not usage.fault for usage in read.usages)


def test_a_batch_must_say_which_lines_it_holds():
    with pytest.raises(Invalid) as raised:
        decode(batch(proxy="", file="a\0b", start_offset=10))
    assert [v.field for v in raised.value.violations] == ["batch.proxy", "batch.file", "batch.end_offset"]
