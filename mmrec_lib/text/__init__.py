"""Texts as shops write them → the words that people read; no Spark."""
