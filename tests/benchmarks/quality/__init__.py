"""Quality of the ranker, of baselines and of variants on the public protocols P1 to P4: `make bench-quality`."""
