"""Bytes to records, whatever clients put into their headers and wherever a crash cut a line."""

from hypothesis import given
from hypothesis import strategies as st

from deploy.envoy.logship.lines import read, record_of
from penstock.accesslog.v1.record_pb2 import HOP_INGRESS, HOP_MESH, AccessRecord

FIELDS = {
    "format": b"1",
    "request_id": b"9a1f1e5c-7b1e-4c59-9f0a-0123456789ab",
    "hop": b"ingress",
    "route": b"split",
    "start_ns": b"1763700000123456789",
    "duration_us": b"1234",
    "upstream_us": b"900",
    "http_status": b"200",
    "grpc_status": b"0",
    "attempts": b"2",
    "upstream": b"127.0.0.1:8001",
    "flags": b"UF,URX",
    "bytes_in": b"120",
    "bytes_out": b"80",
    "tenant": b"acme",
    "principal": b"alice",
    "model": b"flight-delay",
    "version": b"2",
    "variant": b"boosted",
    "experiment": b"delays",
    "degraded": b"fallback-model",
    "unit": b"N12345",
    "client_request_id": b"mine",
}


def line(**changes: bytes) -> bytes:
    return b"\t".join({**FIELDS, **changes}.values())


def test_every_field_of_a_line_reaches_its_place():
    record = AccessRecord(
        request_id="9a1f1e5c-7b1e-4c59-9f0a-0123456789ab", hop=HOP_INGRESS, duration_us=1234, upstream_us=900,
        tenant="acme", principal="alice", model="flight-delay", version="2", variant="boosted", experiment="delays",
        unit="N12345", degraded="fallback-model", grpc_status=0, http_status=200, attempts=2,
        upstream_host="127.0.0.1:8001", response_flags="UF,URX", path="/inference.GRPCInferenceService/ModelInfer",
        bytes_in=120, bytes_out=80, reached_server=True,
    )  # fmt: skip
    record.start_time.FromNanoseconds(1763700000123456789)
    assert record_of(line()) == record


def test_what_never_reached_a_server_says_so():
    assert not record_of(line(route=b"slow-door")).reached_server
    assert not record_of(line(upstream=b"")).reached_server
    assert not record_of(line(route=b"exhausted", upstream=b"")).reached_server
    assert record_of(line(route=b"pinned", hop=b"mesh")).hop == HOP_MESH


def test_a_caller_that_went_away_has_cancelled():
    assert record_of(line(grpc_status=b"", http_status=b"0")).grpc_status == 1


def readable(data: bytes) -> bool:
    chunk = read(data, 0, to_the_end=True)
    return not chunk.unreadable


def test_what_is_no_record_is_not_read_as_one():
    for bad in (
        b"1",
        line(format=b"2"),
        line(hop=b"elsewhere"),
        line(request_id=b""),
        line(start_ns=b"noon"),
        line(duration_us=b"-1"),
        line(attempts=b"99999999999"),
        line(unit=b"a\0b"),
        line()[:150],
        b"\t" * 22,
        b"\xff" * 300,
    ):
        assert not readable(bad), bad


def test_a_line_that_a_crash_cut_short_spoils_no_other():
    whole = line()
    for cut in range(1, len(whole)):
        chunk = read(b"\n" + whole[:cut] + b"\n" + line(request_id=b"next") + b"\n", 0, to_the_end=False)
        assert chunk.records[-1].request_id == "next"
        assert len(chunk.records) + len(chunk.unreadable) == 2
        # all but the client's own id is there, or it is no record
        assert len(chunk.records) == 1 or chunk.records[0] == record_of(whole), cut


control = set(range(32)) | {127}


@given(st.binary(max_size=128).filter(lambda text: not set(text) & control))
def test_a_clients_request_id_may_be_anything_that_the_edge_leaves_in_it(text):
    assert record_of(line(client_request_id=text)) == record_of(line())


@given(st.binary(min_size=1, max_size=1024).filter(lambda text: not set(text) & control))
def test_a_unit_may_be_any_bytes_and_stays_what_it_is(unit):
    try:
        expected = unit.decode()
    except UnicodeDecodeError:
        expected = unit.decode(errors="backslashreplace")
    record = record_of(line(unit=unit))
    assert record.unit == expected
    assert AccessRecord.FromString(record.SerializeToString()) == record


good = st.builds(lambda n: line(request_id=b"r%d" % n), st.integers(0, 99))
bad = st.binary(max_size=60).filter(lambda text: b"\n" not in text)


@given(
    st.lists(st.one_of(good, bad), max_size=20),
    st.binary(max_size=20).filter(lambda t: b"\n" not in t),
    st.integers(0, 99),
)
def test_every_byte_is_a_record_or_an_unreadable_line_or_waits(lines, rest, start):
    data = b"".join(one + b"\n" for one in lines)
    chunk = read(data + rest, start, to_the_end=False)
    if not lines:
        assert chunk is None
        return
    assert (chunk.start, chunk.end) == (start, start + len(data))
    assert len(chunk.records) + len(chunk.unreadable) == sum(one != b"" for one in lines)
    for found in chunk.unreadable:
        at = found.offset - start
        assert data[at : at + len(found.line) + 1] == found.line + b"\n"


@given(st.lists(st.one_of(good, bad), min_size=1, max_size=20), st.data())
def test_reading_in_pieces_reads_the_same(lines, data):
    whole = b"".join(one + b"\n" for one in lines)
    all_at_once = read(whole, 0, to_the_end=False)
    records, unreadable, offset = [], [], 0
    while offset < len(whole):
        size = data.draw(st.integers(1, len(whole)))
        piece = read(whole[offset : offset + size], offset, to_the_end=False)
        if piece is None:
            piece = read(whole[offset:], offset, to_the_end=False)
        records += piece.records
        unreadable += piece.unreadable
        offset = piece.end
    assert (tuple(records), tuple(unreadable)) == (all_at_once.records, all_at_once.unreadable)


def test_what_will_never_be_finished_is_a_line():
    chunk = read(line() + b"\n" + line()[:40], 7, to_the_end=True)
    assert len(chunk.records) == 1
    assert [found.line for found in chunk.unreadable] == [line()[:40]]
    assert chunk.end == 7 + len(line()) + 1 + 40
    assert chunk.first_ns == 1763700000123456789
    assert read(b"", 7, to_the_end=True) is None
