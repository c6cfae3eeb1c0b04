"""What the intake tells Prometheus, after each commit."""

import logging
from collections import Counter as Tally
from datetime import datetime

from prometheus_client import Counter, Gauge

from services.cost_tracking.domain.intake import Batch, Delivery

log = logging.getLogger(__name__)

ENTRIES = Counter("penstock_ledger_entries_total", "Line items charged, by meter.", ["meter"])
USAGE = Counter("penstock_usage_records_total", "Records booked for the first time.", ["hop", "outcome"])
REPEATS = Counter(
    "penstock_usage_repeats_total", "Records that were booked already: delivered again, not charged again."
)
UNPRICED = Counter("penstock_unpriced_usage_total", "Inferences charged 0 because no price was in force.", ["model"])
SET_ASIDE = Counter("penstock_set_aside_records_total", "Records that could not be booked, by why.", ["reason"])
GAPS = Counter("penstock_record_gaps_total", "Batches that began beyond what was committed of their file.")
LAG = Gauge("penstock_ingest_lag_seconds", "Age of the newest record of the last batch when it was committed.")
for reason in ("conflict", "malformed", "unreadable"):
    SET_ASIDE.labels(reason)


def observe(batch: Batch, delivery: Delivery, unreadable: int, now: datetime) -> None:
    """Count a committed batch; what a person has to look at is logged as an error."""
    # counted in Python first: a metric's own arithmetic costs more than the pricing
    booked = delivery.booked
    for labels, count in Tally((charge.usage.hop, charge.outcome) for charge in booked).items():
        USAGE.labels(*labels).inc(count)
    for meter, count in Tally(item.meter for charge in booked for item in charge.items).items():
        ENTRIES.labels(meter).inc(count)
    for model, count in Tally(charge.usage.model for charge in booked if charge.unpriced).items():
        UNPRICED.labels(model).inc(count)
    REPEATS.inc(delivery.repeats)
    where = f"{batch.proxy}:{batch.file} [{batch.start}, {batch.end})"
    for reason, count in (
        ("conflict", delivery.conflicts),
        ("malformed", delivery.malformed),
        ("unreadable", unreadable),
    ):
        if count:
            SET_ASIDE.labels(reason).inc(count)
            log.error("%d %s records in %s were not booked", count, reason, where)
    if delivery.committed < batch.end:
        GAPS.inc()
        log.warning("%s begins after a gap: the file is committed to %d", where, delivery.committed)
    if delivery.booked:
        newest = max(charge.usage.start_time for charge in delivery.booked)
        LAG.set((now - newest).total_seconds())
