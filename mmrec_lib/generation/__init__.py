"""Words for people: facts of a user and an item, texts made of them, and the check that texts say nothing else."""
