"""The line that the bootstrap writes is the line that its reader expects."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from deploy.envoy.record import Record, parse

BOOTSTRAP = Path(__file__).parents[3] / "deploy" / "envoy" / "bootstrap.yaml"
README = BOOTSTRAP.with_name("README.md")
NAMES = [field.name for field in dataclasses.fields(Record)]
LINE = (
    "1\tid\tingress\tsplit\t1795271474048886000\t960\t776\t200\t0\t1\t127.0.0.1:8001\t-\t41\t44\tlocal\tlocal\tm\t2\tx"
    "\te\t\tu\tmine"
)


def test_each_listener_writes_the_fields_in_the_order_that_is_read():
    lines = re.findall(r'inline_string: "\\n1\\t(.*)\\n"', BOOTSTRAP.read_text())
    assert [line.split("\\t")[1] for line in lines] == ["ingress", "mesh", "mirror"]
    for line in lines:
        assert len(line.split("\\t")) == len(NAMES)
    told = re.findall(r"^\| \d+ \| `(\w+)` \|", README.read_text(), re.MULTILINE)
    assert told == ["format", *NAMES]


def test_a_line_is_read():
    record = parse(LINE)
    assert (record.request_id, record.hop, record.upstream_us, record.flags) == ("id", "ingress", 776, "")
    assert (record.variant, record.experiment, record.degraded, record.unit) == ("x", "e", "", "u")
    assert record.reached_triton


def test_absent_numbers_are_told_from_zero_where_it_matters():
    fields = LINE.split("\t")
    fields[6], fields[8], fields[10], fields[16] = "", "", "", "-"
    record = parse("\t".join(fields))
    assert (record.upstream_us, record.grpc_status, record.model) == (0, -1, "")
    assert not record.reached_triton


def test_a_line_with_more_fields_than_there_are_is_refused():
    """Or a caller's own words would be taken for other fields."""
    with pytest.raises(ValueError, match="fields"):
        parse(f"{LINE}\twith\ttabs")


@pytest.mark.parametrize("line", ["", "2" + LINE[1:], LINE.rsplit("\t", 1)[0], LINE.replace("960", "soon")])
def test_other_lines_are_refused(line: str):
    with pytest.raises(ValueError, match=r"format|invalid literal"):
        parse(line)
