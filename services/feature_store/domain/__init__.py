"""The rules of features: what may be declared, how rows are packed, what was known when."""
