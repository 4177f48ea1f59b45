"""Encoders and extractors of sound."""
