"""Search by words and vectors: exact words, nearest vectors, and both fused into one list."""
