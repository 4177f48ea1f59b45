"""Benchmarks: what the library reaches, and how fast."""
