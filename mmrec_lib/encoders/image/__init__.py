"""Encoders and extractors of images."""
