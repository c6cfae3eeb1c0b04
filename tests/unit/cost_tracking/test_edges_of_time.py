"""The first and the last moment of all would come back from Postgres without a zone, and stop the intake for all."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from libs.errors import Faults, Invalid
from penstock.accesslog.v1.record_pb2 import HOP_INGRESS, AccessRecord, RecordBatch
from penstock.cost_tracking.v1.price_pb2 import Price
from penstock.experimentation.v1 import experimentation_service_pb2 as exp
from penstock.experimentation.v1.analysis_pb2 import Outcome
from services.cost_tracking.servers import records, times
from services.experimentation.servers.wire import outcomes_of

FIRST, LAST = Timestamp(seconds=-62_135_596_800), Timestamp(seconds=253_402_300_799, nanos=999_999_999)


@pytest.mark.parametrize("edge", [FIRST, LAST], ids=["first", "last"])
def test_it_is_no_time(edge):
    faults = Faults()
    assert times.decode(Price(effective_from=edge), "effective_from", faults, "price.effective_from") is None
    with pytest.raises(Invalid):
        faults.check()
    faults = Faults()
    outcomes_of(exp.ReportOutcomesRequest(outcomes=[Outcome(event_time=edge)]), faults)
    assert faults
    line = AccessRecord(request_id="r", hop=HOP_INGRESS, start_time=edge)
    assert not records.decode(RecordBatch(proxy="p", file="f", end_offset=1, records=[line])).usages


@pytest.mark.parametrize("edge", [FIRST, LAST], ids=["first", "last"])
def test_a_little_within_is_one(edge):
    inside = Timestamp(seconds=edge.seconds + (1 if edge is FIRST else -1))
    assert times.decode(Price(effective_from=inside), "effective_from", Faults()) is not None
