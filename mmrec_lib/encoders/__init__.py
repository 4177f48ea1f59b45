"""Encoders: texts and pictures → vectors, sound → text. Knows no Spark."""
