"""Targets, beliefs, call statistics, and what follows from them: pure rules, times are given."""
