"""Reviews → opinions, table to table."""
