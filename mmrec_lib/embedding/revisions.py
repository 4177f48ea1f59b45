"""Model and revision that made a row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from mmrec_lib.encoders.spec import EncoderSpec
from mmrec_lib.media.errors import MAX_ATTEMPTS, RETRYABLE_REASONS

# Stands for the revision, and where no model is named for the model too, of words and vectors that came precomputed.
PROVIDED = "provided"


def made_by(*specs: EncoderSpec) -> Column:
    """Tell if a row comes from one of these models in this revision."""
    return _made_by((spec.id, spec.revision) for spec in specs)


def of_model(specs: Sequence[EncoderSpec], attribute: str) -> Column:
    """An attribute of the model that made a row; of several models the column `encoder_id` names the one."""
    if len(specs) == 1:
        return F.lit(getattr(specs[0], attribute))
    return F.coalesce(*(F.when(F.col("encoder_id") == spec.id, F.lit(getattr(spec, attribute))) for spec in specs))


def wanted_together(plans: Sequence[tuple[EncoderSpec, DataFrame]]) -> DataFrame:
    """Contents that at least one of several models is to see.

    Args:
        plans: For each model its contents, with columns `content_id` and `num_attempts`.

    Returns:
        `content_id` and `wanted`, for each model that is to see the content its id and `num_attempts`.
    """
    each = [todo.select("content_id", F.lit(spec.id).alias("model"), "num_attempts") for spec, todo in plans]
    together = F.map_from_entries(F.collect_list(F.struct("model", "num_attempts")))
    return reduce(DataFrame.unionByName, each).groupBy("content_id").agg(together.alias("wanted"))


def not_done(contents: DataFrame, made: DataFrame) -> DataFrame:
    """Contents that a model has not handled, and those whose failure may be the machine's fault, a few times.

    Args:
        contents: With a column `content_id`, each once.
        made: Rows of `content_embedding` or `media_text` of the model.

    Returns:
        The columns of `contents`, and `num_attempts`: runs that tried before.
    """
    attempts = F.coalesce("num_attempts", F.lit(1))
    may_retry = F.coalesce(is_retryable(F.col("error")), F.lit(False)) & (attempts < MAX_ATTEMPTS)
    known = made.select("content_id", may_retry.alias("_may_retry"), attempts.alias("num_attempts"))
    return (
        contents.join(known, on="content_id", how="left")
        .where(F.coalesce("_may_retry", F.lit(True)))
        .withColumn("num_attempts", F.coalesce("num_attempts", F.lit(0)))
        .drop("_may_retry")
    )


def is_retryable(error: Column) -> Column:
    """Tell if an error (`<reason>: …`) may be the machine's fault."""
    return F.substring_index(error, ":", 1).isin(*RETRYABLE_REASONS)


def attempts_now(rows: DataFrame) -> Column:
    """`num_attempts` of rows that were made just now, where the error may be the machine's fault; else null."""
    before = F.col("num_attempts") if "num_attempts" in rows.columns else F.lit(0)
    return F.when(is_retryable(F.col("error")), before + 1).cast("int")


def in_use(encoder_release: DataFrame, specs: Iterable[EncoderSpec]) -> Column:
    """Tell if somebody needs what made a row: it is released, or is to be with this run, or came precomputed."""
    released = encoder_release.select("encoder_id", "revision").distinct().collect()
    needed = {(spec.id, spec.revision) for spec in specs} | {(row["encoder_id"], row["revision"]) for row in released}
    return (F.col("revision") == PROVIDED) | _made_by(sorted(needed))


def _made_by(revisions: Iterable[tuple[str, str]]) -> Column:
    made = [(F.col("encoder_id") == name) & (F.col("revision") == revision) for name, revision in revisions]
    return reduce(Column.__or__, made, F.lit(False))
