"""Training: snapshots → registered, judged and promoted rankers."""
