"""Rankers: sources, their fusion, distillation to one dot product, baselines, and the search of their settings."""
