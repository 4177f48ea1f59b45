"""Heads: probabilities of what follows a recommendation."""
