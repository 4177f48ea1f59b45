"""The fusion ranker: fused sources distilled into one dot product, saved and served."""
