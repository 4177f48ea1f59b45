"""Approximate search of a scoring run: the index, and its recall on a sample of users before anybody is scored."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.errors import PublishingError
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.scoring.catalogue import Catalogue, listed_places
from mmrec_lib.scoring.config import ScoringConfig
from mmrec_lib.scoring.profiles import scored_columns
from mmrec_lib.scoring.users import score_batch
from mmrec_lib.topk.approximate import ApproximateConfig, build_index, recall


def index_catalogue(catalogue: Catalogue, config: ScoringConfig) -> Catalogue:
    """The catalogue with the configured index; itself where search is exact.

    Raises:
        ModelError: When faiss is not installed, or too few items may be listed.
    """
    if config.search == "exact":
        return catalogue
    return replace(catalogue, index=build_index(catalogue.prepared, config.search, config.approximate))


def load_sample(lakehouse: Lakehouse, profiles: DataFrame, day: date, config: ApproximateConfig) -> pa.Table:
    """Users that recall is measured on: those of the least seeds, as `score_batch` takes them."""
    no_hash = profiles.withColumn("input_hash", F.lit(None).cast("long"))
    rows = scored_columns(no_hash, day).orderBy("seed").limit(config.sample_users)
    batches = list(lakehouse.stream_arrow("recall_sample", rows.coalesce(1)))
    return pa.Table.from_batches(batches) if batches else pa.table({"user_id": pa.array([], pa.string())})


def measured_recall(catalogue: Catalogue, sample: pa.Table, config: ScoringConfig) -> float:
    """Share of the items of exact lists that the index finds for a sample of users, with all rules, before re-ranking.

    The scorer is left out: it only orders what was found.

    Raises:
        PublishingError: When it is below the configured floor.
    """
    if not len(sample):
        return 1.0
    (batch,) = sample.combine_chunks().to_batches()
    unexplained = config.model_copy(update={"explained_ranks": 0})
    plain = [replace(catalogue, index=index, scorer=None) for index in (catalogue.index, None)]
    found, exact = (
        listed_places(score_batch(batch, one, unexplained, RerankingConfig())["item_ids"], one, config.k)
        for one in plain
    )
    share, floor = recall(found, exact), config.approximate.min_recall
    if share < floor:
        raise PublishingError(
            f"No new lists were made, and the published ones stay: scoring.search {config.search} finds {share:.1%} of "
            f"the items of exact lists for {len(sample)} users; scoring.approximate.min_recall asks for {floor:.1%}. "
            "Raise scoring.approximate.effort or over_fetch, or use exact."
        )
    return share
