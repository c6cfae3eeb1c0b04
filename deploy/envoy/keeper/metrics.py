"""What the keeper tells Prometheus."""

from prometheus_client import Counter, Gauge

FOLLOWING = Gauge("penstock_keeper_following", "Streams of its Envoy that routing answers: 1 when all is well.")
KEPT = Gauge("penstock_keeper_kept_resources", "Resources of the last policy that its Envoy acknowledged.")
STOOD_IN = Counter("penstock_keeper_stand_ins", "Streams of its Envoy that were answered from what was kept.")
UNKEPT = Counter("penstock_keeper_unkept_changes", "Changes of the policy that could not be written to the file.")
LOST = Counter("penstock_keeper_lost_files", "Times that the file could not be read, and keeping began anew.")
