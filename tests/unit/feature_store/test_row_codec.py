from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.feature_store.domain.codec import TIMES_OFFSET, RowCodec, UnreadableRow
from services.feature_store.domain.columns import LATEST_US, Column, Field, Rows, ValueType

VALUES = {
    ValueType.INT64: st.integers(-(2**63), 2**63 - 1),
    ValueType.DOUBLE: st.floats(),
    ValueType.STRING: st.text(),
    ValueType.BOOL: st.booleans(),
    ValueType.TIMESTAMP: st.integers(-LATEST_US, LATEST_US),
}
times = st.integers(-LATEST_US, LATEST_US)


@st.composite
def tables(draw):
    """Fields of a schema, and rows of it."""
    kinds = draw(st.lists(st.sampled_from(ValueType), max_size=20))
    fields = [Field(f"f{i}", kind) for i, kind in enumerate(kinds)]
    count = draw(st.integers(0, 5))
    exactly = {"min_size": count, "max_size": count}
    columns = {f.name: draw(st.lists(st.none() | VALUES[f.type], **exactly)) for f in fields}
    rows = Rows(
        np.array(draw(st.lists(times, **exactly)), np.int64),
        np.array(draw(st.lists(times, **exactly)), np.int64),
        {f.name: Column.of(f.type, columns[f.name]) for f in fields},
    )
    return fields, rows


@given(tables(), st.integers(0, 2**32 - 1))
def test_what_is_packed_is_unpacked(table, schema_id):
    fields, rows = table
    codec = RowCodec(schema_id, fields)
    found = codec.decode(codec.encode(rows))
    assert found.event_us.tolist() == rows.event_us.tolist()
    assert found.created_us.tolist() == rows.created_us.tolist()
    for field in fields:
        # repr, for which NaN is NaN and -0.0 is not 0.0
        assert repr(found.columns[field.name].objects()) == repr(rows.columns[field.name].objects())


@given(tables().filter(lambda table: len(table[1])), st.data())
def test_a_torn_row_is_never_read(table, data):
    fields, rows = table
    codec = RowCodec(7, fields)
    packed = codec.encode(rows)
    torn = data.draw(st.sampled_from(range(len(packed))))
    cut = data.draw(st.integers(0, len(packed[torn]) - 1))
    with pytest.raises(UnreadableRow):
        codec.decode([*packed[:torn], packed[torn][:cut], *packed[torn + 1 :]])
    with pytest.raises(UnreadableRow):
        codec.decode([packed[torn] + b"\0"])


@given(st.binary(max_size=80))
def test_noise_is_refused_or_read_but_never_breaks(noise):
    codec = RowCodec(1, [Field("a", ValueType.STRING), Field("b", ValueType.DOUBLE), Field("c", ValueType.STRING)])
    framed = b"\x01\x01\x00\x00\x00" + noise
    for row in (noise, framed):
        with suppress(UnreadableRow):
            codec.decode([row])


def packed_row(schema_id):
    fields = [Field("wind", ValueType.DOUBLE), Field("sky", ValueType.STRING)]
    columns = {"wind": Column.of(ValueType.DOUBLE, [1.5]), "sky": Column.of(ValueType.STRING, ["ü"])}
    codec = RowCodec(schema_id, fields)
    return codec, codec.encode(Rows(np.array([5]), np.array([6]), columns))[0]


def test_the_layout_is_what_it_says():
    _, row = packed_row(0x01020304)
    assert row.hex(" ") == (
        "01 04 03 02 01 05 00 00 00 00 00 00 00 06 00 00 00 00 00 00 00 00 00 00 00 00 00 00 f8 3f 02 00 00 00 c3 bc"
    )
    assert row[TIMES_OFFSET] == 5


def test_a_row_of_another_schema_or_version_is_refused():
    codec, row = packed_row(3)
    other, _ = packed_row(4)
    with pytest.raises(UnreadableRow, match="schema"):
        other.decode([row])
    with pytest.raises(UnreadableRow, match="version"):
        codec.decode([b"\x02" + row[1:]])


def test_bytes_that_are_no_text_are_refused():
    codec, row = packed_row(3)
    with pytest.raises(UnreadableRow, match="UTF-8"):
        codec.decode([row[:-2] + b"\xff\xff"])
