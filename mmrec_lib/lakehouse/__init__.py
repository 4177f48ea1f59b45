"""Lakehouse: the only code that reads and writes tables and landing files."""
