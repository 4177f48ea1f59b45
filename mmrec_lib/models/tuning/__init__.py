"""Choosing settings on validation data, and the baselines chosen with the same budget."""
