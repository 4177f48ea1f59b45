"""The published tables: top-k lists, neighbours and vectors under the champion."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.contracts.gold import CURRENT_SLICE, ITEM_VECTOR
from mmrec_lib.errors import ModelError, ShowingError
from mmrec_lib.features.load import SnapshotItems, load_fit_contents, load_items, present_profiles
from mmrec_lib.lakehouse.actions import side_by_side
from mmrec_lib.lakehouse.merging import Staged
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.lakehouse.views import ensure_current_views
from mmrec_lib.models.data import Content
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.scoring.approximate import index_catalogue, load_sample, measured_recall
from mmrec_lib.scoring.arrow_lists import vectors_to_arrow
from mmrec_lib.scoring.catalogue import Catalogue, build_catalogue, save_catalogue
from mmrec_lib.scoring.checks import NewLists, check_before_publishing
from mmrec_lib.scoring.config import ScoringConfig
from mmrec_lib.scoring.neighbors import neighbors_over_partitions
from mmrec_lib.scoring.shown_items import content_space, load_item_facts, load_rules, new_items
from mmrec_lib.scoring.users import SCORED, SHARES, ScoringTask, score_profiles
from mmrec_lib.showing.config import ShowingConfig
from mmrec_lib.showing.item_rules import ItemRules
from mmrec_lib.tracking.registry import CHAMPION, RegisteredModel, Registry

READS = (
    "item",
    "user",
    "user_profile",
    "training_snapshot",
    "training_content",
    "training_item",
    "user_control",
    "registry:champion",
)
SLICED = ("user_topk", "item_neighbor", "user_vector", "item_vector")
WRITES = (*SLICED, "current_slice")
_OF_ENTRIES = ("item_ids", "scores", "shares", "reasons", "propensities")


@dataclass(frozen=True)
class ScoringSettings:
    """Settings of a scoring run.

    Attributes:
        scoring: Sizes, explanations, checks.
        showing: Rules of what may be shown.
        reranking: Steps after the search.
    """

    scoring: ScoringConfig
    showing: ShowingConfig
    reranking: RerankingConfig


def score_all(lakehouse: Lakehouse, registry: Registry, settings: ScoringSettings) -> dict[str, int]:
    """Score every known user and item with the champion, replace the slices of its date and version, and name them.

    Users and items that were deleted after the snapshot was made are in none of the tables. New lists are checked
    before the first table changes.

    Returns:
        Counts for job_run.

    Raises:
        ModelError: When there is no champion, or the catalogue is larger than configured.
        ShowingError: When a rule is wrong or removes too much.
        PublishingError: When new lists break a rule, or approximate search finds too little; the published ones stay.
    """
    config = settings.scoring
    champion = registry.by_alias(CHAMPION)
    if champion is None:
        raise ModelError(
            f"There is no {CHAMPION} of {registry.model_name}. Run promote_ranker first, or set the alias yourself."
        )
    items, profiles = load_items(lakehouse), present_profiles(lakehouse)
    if len(items.item_ids) > config.max_catalogue_items:
        raise ModelError(
            f"The catalogue has {len(items.item_ids)} items, more than scoring.max_catalogue_items = "
            f"{config.max_catalogue_items}. Raise it where the driver has the memory."
        )
    rules, profiles_with_controls = load_rules(lakehouse, items, profiles, settings.showing, config.k)
    if rules.pins and settings.reranking.exploration is not None:
        raise ShowingError(
            "rules: pins move items from the places that reranking.exploration drew, so that the probabilities written "
            "down would be wrong. Leave out the exploration, or the rules that pin."
        )
    day, version = items.cuts.as_of, champion.version
    with tempfile.TemporaryDirectory() as scratch:
        folder = registry.model_artifact(champion, "ranker", Path(scratch))
        catalogue = _catalogue(lakehouse, FittedRanker.load(folder), items, rules, settings)
        catalogue = index_catalogue(catalogue, config)
        search_counts = {}
        if catalogue.index is not None:
            sample = load_sample(lakehouse, profiles_with_controls, day, config.approximate.sample_users)
            share = measured_recall(catalogue, sample, config)
            registry.log_metrics(champion, {f"scoring.recall@{config.k}": share})
            search_counts["recall_percent"] = int(100 * share)
        # A place of its own: workers keep what they read from a place, maybe another catalogue of this run.
        uri = lakehouse.staging_path(f"catalogue-{uuid.uuid4().hex}")
        save_catalogue(catalogue, folder, uri)
    num_users = profiles.count()
    num_tasks = 2 * (1 + num_users // config.users_per_task)
    task = ScoringTask(uri, config, settings.reranking)
    scored = lakehouse.stage("scored", score_profiles(profiles_with_controls, task, day, num_tasks))
    topk = _topk_rows(scored).select(
        F.lit(day).alias("as_of_date"),
        "user_id",
        "rank",
        "item_id",
        "score",
        "source_shares",
        "because_item_ids",
        "propensity",
        F.lit(version).alias("model_version"),
    )
    vectors = scored.select(F.lit(version).alias("model_version"), "user_id", "vector")
    is_sorted = not settings.reranking.is_on
    new = NewLists(scored, profiles, lakehouse.read("item"), day, len(items.item_ids), config.k, is_sorted)
    with lakehouse.many_rows(num_users * config.k):
        checked = check_before_publishing(lakehouse, new, config.checks)
        side_by_side(
            [
                lambda: lakehouse.replace_slice("user_topk", Staged(topk), {"as_of_date": day}),
                lambda: lakehouse.replace_slice("user_vector", Staged(vectors), {"model_version": version}),
                lambda: _write_items(lakehouse, catalogue, uri, scored, champion, config, day),
            ]
        )
    # Last and in one commit: a reader that follows it never meets a table that is not there yet.
    current = [(name, day, version) for name in SLICED]
    lakehouse.merge("current_slice", lakehouse.spark.createDataFrame(current, CURRENT_SLICE.input_schema))
    ensure_current_views(lakehouse, SLICED)
    counts = {"users": num_users, "items": len(catalogue.item_ids), "short_lists": checked["short"]}
    return counts | search_counts | {"items_kept_out": int((items.is_available & ~rules.is_listed).sum())}


def _catalogue(
    lakehouse: Lakehouse, ranker: FittedRanker, items: SnapshotItems, rules: ItemRules, settings: ScoringSettings
) -> Catalogue:
    @cache
    def contents() -> Mapping[str, Content]:
        return load_fit_contents(lakehouse, items, "fit3")

    facts = None
    if settings.reranking.is_on:
        brand = settings.showing.brand_attribute
        facts = load_item_facts(lakehouse, items, lambda: content_space(contents()), settings.reranking, brand)
        facts = replace(facts, is_new=new_items(items.item_ids, ranker))
    return build_catalogue(ranker, items, contents, rules, facts)


def _topk_rows(scored: DataFrame) -> DataFrame:
    # Arrays of which one is null make no rows at all; shorter ones are filled with null.
    filled = [F.coalesce(F.col(name), F.array().cast(SCORED[name].dataType)).alias(name) for name in _OF_ENTRIES]
    zipped = F.arrays_zip(*filled)
    rows = scored.select("user_id", F.posexplode(zipped).alias("position", "entry"))
    return rows.select(
        "user_id",
        (F.col("position") + 1).cast("int").alias("rank"),
        F.col("entry.item_ids").alias("item_id"),
        F.col("entry.scores").alias("score"),
        F.coalesce("entry.shares", F.create_map().cast(SHARES)).alias("source_shares"),
        F.col("entry.reasons").alias("because_item_ids"),
        F.col("entry.propensities").alias("propensity"),
    )


def distilled_scale(catalogue: Catalogue, scored: DataFrame) -> npt.NDArray[np.float32]:
    """[dim] how much users use each distilled dimension: root mean square over users' vectors.

    The distilled item vectors are orthonormal; only with these lengths is their cosine a likeness that users see.
    """
    dim = catalogue.ranker.distilled.shape[1]
    squares = [F.avg(F.pow(F.element_at("vector", i + 1), 2)).alias(f"s{i}") for i in range(dim)]
    row = scored.agg(*squares).collect()[0]
    # Rounded, so that the order of a parallel sum cannot change a list.
    lengths = np.sqrt(np.array([row[f"s{i}"] or 0.0 for i in range(dim)], dtype=np.float64))
    return np.asarray(np.round(lengths, 6), dtype=np.float32)


def _write_items(
    lakehouse: Lakehouse,
    catalogue: Catalogue,
    catalogue_uri: str,
    scored: DataFrame,
    champion: RegisteredModel,
    config: ScoringConfig,
    day: date,
) -> None:
    num_items = len(catalogue.item_ids)
    vectors = pa.table(
        {
            "model_version": pa.DictionaryArray.from_arrays(np.zeros(num_items, np.int8), [champion.version]),
            "item_id": catalogue.arrow_ids,
            "vector": vectors_to_arrow(catalogue.item_vectors),
        }
    )
    lakehouse.replace_slice(
        "item_vector",
        Staged(lakehouse.from_arrow(vectors, ITEM_VECTOR)),
        {"model_version": champion.version},
    )
    scale = distilled_scale(catalogue, scored)
    found = neighbors_over_partitions(lakehouse.spark, catalogue_uri, num_items, scale, config.num_neighbors)
    neighbors = found.select(
        F.lit(day).alias("as_of_date"), *found.columns, F.lit(champion.version).alias("model_version")
    )
    lakehouse.replace_slice("item_neighbor", neighbors, {"as_of_date": day})
