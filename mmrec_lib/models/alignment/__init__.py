"""Vectors of several modalities in one space, and contents that contradict each other."""
