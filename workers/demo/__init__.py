"""Demonstrations on real data, told to a person at a terminal."""
