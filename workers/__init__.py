"""Processes: consume, encode, store, recommend, train; the command line, metrics and health."""
