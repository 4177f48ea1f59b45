"""Running networks: backends, dtypes, machine cache, prefetch."""
