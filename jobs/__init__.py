"""The jobs: one file each, thin, the same for the local runner, spark-submit and Databricks."""
