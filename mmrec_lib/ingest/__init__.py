"""Ingest: landing files and media → bronze; every record is stored or in quarantine."""
