"""Records against each other and against the store: which one counts, waits or is refused, and what became of each."""
