"""Scoring: models over partitions → top-k tables."""
