"""What the service counts. Labels are bounded: no names of experiments, units or callers."""

from prometheus_client import Counter, Gauge

RECORDS = Counter(
    "penstock_experimentation_records",
    "Record log lines that were taken, by what became of each.",
    ["judgement"],
)
UNREADABLE = Counter("penstock_experimentation_unreadable_lines", "Record log lines that a companion could not read.")
DELIVERIES = Counter(
    "penstock_experimentation_deliveries",
    "Batches of record log lines: taken, or out_of_place and hence sent back to where the file was committed.",
    ["result"],
)
OUTCOMES = Counter(
    "penstock_experimentation_outcomes", "Outcomes that were reported: accepted or repeated.", ["result"]
)
RUNNING = Gauge("penstock_experimentation_running_experiments", "Experiments that are running.")
