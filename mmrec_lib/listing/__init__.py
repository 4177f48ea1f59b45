"""Lists that are not made for one user: measures over counts, what may stand in a list, selection."""
