"""mmrec: multimodal recommendation pipelines on Spark, from raw media to top-k tables."""

__version__ = "0.1.0"
