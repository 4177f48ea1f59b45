"""Models: what ranks. Sources, their fusion, distillation to one dot product, baselines, and how they are chosen."""
