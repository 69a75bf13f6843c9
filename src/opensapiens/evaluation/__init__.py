"""Benchmarks: the numbers of the field beside what a trivial answer would score."""
