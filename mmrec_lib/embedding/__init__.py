"""Embedding: which contents there are, which are new, and encoders over partitions."""
