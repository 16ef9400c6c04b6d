"""Benchmarks, measured from outside: by what a producer and a reader see."""
