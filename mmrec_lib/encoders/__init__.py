"""Encoders: texts and images → vectors, sound → text. Knows no Spark."""
