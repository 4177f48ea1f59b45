"""Training: snapshots → registered, evaluated and promoted rankers."""
