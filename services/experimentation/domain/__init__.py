"""The rules of experiments: states, buckets, exposures, and the weighing of evidence."""
