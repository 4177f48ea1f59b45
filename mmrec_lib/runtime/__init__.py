"""Runtime: what a job is, how one is run, and the graph of all."""
