"""Words for people over tables: the job write_texts."""
