"""The two contracts that this service answers: its own, and Envoy's access log stream."""
