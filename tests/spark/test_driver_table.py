"""Commits that this process makes: the same tables and feeds of changes as Spark's, for every type that contracts have."""
