"""Hadoop's configuration in a local session: the only code that reaches into Java, which Spark Connect lacks."""

from __future__ import annotations

from pyspark.sql import SparkSession

_OF_CLUSTERS = r"^(yarn|mapreduce|mapred)\."
_SITES = ("yarn-site.xml", "mapred-site.xml")


def without_cluster_defaults(session: SparkSession) -> SparkSession:
    """Take the defaults of YARN and MapReduce out of a local session's configuration; Hadoop's code has them as well.

    They are two thirds of its 1,100 entries, and Spark writes and reads all of them for every task that writes a file.
    What a user sets through `spark.hadoop.` stays, and where a site configures YARN or MapReduce all of it does.

    Returns:
        The session.
    """
    assert session._jvm is not None
    # Making the state loads the last defaults, which would bring the others back.
    session._jsparkSession.sessionState()
    context = session.sparkContext
    hadoop = context._jsc.hadoopConfiguration()
    if all(hadoop.getResource(name) is None for name in _SITES):
        chosen = {key.removeprefix("spark.hadoop.") for key, _ in context.getConf().getAll()}
        names = str(hadoop.getValByRegex(_OF_CLUSTERS).keySet().toString())[1:-1].split(", ")
        for name in names:
            if name and name not in chosen:
                hadoop.unset(name)
    return session
