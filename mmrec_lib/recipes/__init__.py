"""Recipes: small networks trained on labels; no Spark."""
