"""Sources: each turns histories, content or attributes into scores of items."""
