"""Which model, in which revision, made a row."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from mmrec_lib.encoders.spec import EncoderSpec

# Stands for the revision, and where no model is named for the model too, of words and vectors that came ready-made.
PROVIDED = "provided"


def made_by(*specs: EncoderSpec) -> Column:
    """Whether a row comes from one of these models in this revision."""
    return _made_by((spec.id, spec.revision) for spec in specs)


def in_use(encoder_release: DataFrame, specs: Iterable[EncoderSpec]) -> Column:
    """Whether somebody needs what made a row: it is released, or is to be with this run, or came ready-made."""
    released = encoder_release.select("encoder_id", "revision").distinct().collect()
    needed = {(spec.id, spec.revision) for spec in specs} | {(row["encoder_id"], row["revision"]) for row in released}
    return (F.col("revision") == PROVIDED) | _made_by(sorted(needed))


def _made_by(revisions: Iterable[tuple[str, str]]) -> Column:
    made = [(F.col("encoder_id") == name) & (F.col("revision") == revision) for name, revision in revisions]
    return reduce(Column.__or__, made, F.lit(False))
