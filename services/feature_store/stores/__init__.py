"""Postgres, Redis and Parquet: the only SQL and the only keys."""
