"""Queries over tables: what was asked → items and support answers."""
