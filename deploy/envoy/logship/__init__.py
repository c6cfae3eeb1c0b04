"""The companion beside each Envoy: carries its record log to those who count, line by line, at least once."""
