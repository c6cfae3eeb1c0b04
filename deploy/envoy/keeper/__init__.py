"""The keeper beside each Envoy: passes routing's policy on, keeps it, and stands in when no routing answers."""
