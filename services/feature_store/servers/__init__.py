"""gRPC: decode, ask the domain, encode."""
