"""What the companion counts. The label `sink` is cost_tracking, experimentation or unreadable."""

from prometheus_client import Counter, Gauge

DELIVERED = Counter("penstock_logship_delivered_records", "Records that a sink has taken.", ["sink"])
FAILURES = Counter("penstock_logship_failed_deliveries", "Deliveries that must be made again.", ["sink"])
LAG_BYTES = Gauge("penstock_logship_lag_bytes", "Bytes of the record log that a sink has not taken yet.", ["sink"])
LAG_SECONDS = Gauge(
    "penstock_logship_lag_seconds",
    "Age of the oldest request that a sink has not taken yet; 0 when there is none.",
    ["sink"],
)
UNREADABLE = Counter("penstock_logship_unreadable_lines", "Lines of the record log that are no records.")
REWRITTEN = Counter(
    "penstock_logship_rewritten_files", "Times that a file was not what it had been, and was delivered anew.", ["sink"]
)
SET_ASIDE = Counter("penstock_logship_files_set_aside", "Times that the record log had grown enough to be set aside.")
FILES = Gauge("penstock_logship_files", "Files of the record log on disk.")
