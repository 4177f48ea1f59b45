"""Media: bytes → arrays, and what bytes are. Knows no Spark, no torch and no file names."""
