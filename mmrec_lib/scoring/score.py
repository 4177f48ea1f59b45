"""The published tables: top-k lists, neighbours and vectors under the champion."""

from __future__ import annotations

import hashlib
import json
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.contracts.gold import ELICITATION_ITEM, ITEM_VECTOR
from mmrec_lib.errors import ModelError, ShowingError
from mmrec_lib.features.load import SnapshotItems, load_fit_contents, load_items, load_tokens, present_profiles
from mmrec_lib.lakehouse.actions import side_by_side
from mmrec_lib.lakehouse.merging import Staged
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.lakehouse.views import ensure_current_views
from mmrec_lib.lakehouse.worker_files import WorkerFiles
from mmrec_lib.models.data import Content
from mmrec_lib.models.ranker.probabilities import uncounted_worths
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.recipes.scorer_config import ScorerConfig
from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.scoring.affected import Affected, find_affected, score_everyone, with_input_hash
from mmrec_lib.scoring.approximate import index_catalogue, load_sample, measured_recall
from mmrec_lib.scoring.arrow_lists import vectors_of_arrow, vectors_to_arrow
from mmrec_lib.scoring.catalogue import Catalogue, build_catalogue, save_catalogue
from mmrec_lib.scoring.checks import NewLists, check_before_publishing, check_catalogue
from mmrec_lib.scoring.config import ScoringConfig
from mmrec_lib.scoring.histories import without_unread
from mmrec_lib.scoring.list_rules import ENTRIES, LISTS, SHORT
from mmrec_lib.scoring.neighbors import neighbors_over_partitions
from mmrec_lib.scoring.path_nodes import nodes_of_contents
from mmrec_lib.scoring.probabilities import COLUMNS as HEAD_COLUMNS
from mmrec_lib.scoring.profiles import score_profiles
from mmrec_lib.scoring.published import PublishedSlice, name_slices, published_slices
from mmrec_lib.scoring.questions import question_rows
from mmrec_lib.scoring.scorer import with_scorer
from mmrec_lib.scoring.shown_items import content_space, item_columns, item_facts, load_controls, load_rules, new_items
from mmrec_lib.scoring.users import SCORED, SHARES, ScoringTask
from mmrec_lib.showing.config import ShowingConfig
from mmrec_lib.showing.item_rules import ItemRules
from mmrec_lib.showing.rules_file import user_attributes_of
from mmrec_lib.source_version import source_version
from mmrec_lib.tracking.registry import CHAMPION, SNAPSHOT_TAG, RegisteredModel, Registry

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
SLICED = ("user_topk", "item_neighbor", "user_vector", "item_vector", "elicitation_item")
WRITES = (*SLICED, "current_slice")
_OF_ENTRIES = ("item_ids", "scores", "shares", "reasons", "propensities", *HEAD_COLUMNS, "paths")


@dataclass(frozen=True)
class ScoringSettings:
    """Settings of a scoring run.

    Attributes:
        scoring: Sizes, explanations, checks.
        showing: Rules of what may be shown.
        reranking: Steps after the search.
        scorer: The scorer that the champion may have a weight for; None has none.
    """

    scoring: ScoringConfig
    showing: ShowingConfig
    reranking: RerankingConfig
    scorer: ScorerConfig | None = None


@dataclass(frozen=True)
class ScoringResult:
    """Result of a scoring run.

    Attributes:
        counts: For job_run.
        reason: Reason why everyone was scored; None where only those were whom a change concerns.
        uncounted: The reason by name for each worth that does not count.
    """

    counts: dict[str, int]
    reason: str | None
    uncounted: Mapping[str, str] = field(default_factory=dict)


def score_all(lakehouse: Lakehouse, registry: Registry, settings: ScoringSettings) -> ScoringResult:
    """Bring the lists of all known users and items to what the champion says, and name their slices.

    Where nothing changed that all lists follow from, only users are scored of whom something changed, and item tables
    stay. Users and items that were deleted after the snapshot was made are in none of the tables. New lists are checked
    before the first table changes.

    Raises:
        ModelError: When there is no champion, the catalogue is larger than configured, a worth is of no outcome, or
            the champion was trained with another scorer.
        ShowingError: When a rule is wrong or removes too much.
        PublishingError: When the catalogue shrank too much, new lists break a rule, or approximate search finds too
            little; the published ones stay.
    """
    config = settings.scoring
    champion = registry.by_alias(CHAMPION)
    if champion is None:
        raise ModelError(
            f"There is no {CHAMPION} of {registry.model_name}. Run promote_ranker first, or set the alias yourself."
        )
    controls = load_controls(lakehouse, settings.showing)
    items = load_items(lakehouse, item_columns(settings.showing, settings.reranking, controls))
    profiles = present_profiles(lakehouse)
    num_items = len(items.item_ids)
    if num_items > config.max_catalogue_items:
        raise ModelError(
            f"The catalogue has {num_items} items, more than scoring.max_catalogue_items = "
            f"{config.max_catalogue_items}. Raise it where the driver has the memory."
        )
    published = published_slices(lakehouse)
    check_catalogue(lakehouse, num_items, published.get("item_vector"), config.checks)
    rules, profiles = load_rules(items, profiles, controls, settings.showing, config.k)
    if rules.pins and settings.reranking.exploration is not None:
        raise ShowingError(
            "rules: pins move items from the places that reranking.exploration drew, so that the probabilities written "
            "down would be wrong. Leave out the exploration, or the rules that pin."
        )
    day, version = items.cuts.as_of, champion.version
    with tempfile.TemporaryDirectory() as scratch:
        folder = registry.model_artifact(champion, "ranker", Path(scratch))
        is_of_fit = champion.tags.get(SNAPSHOT_TAG) == items.snapshot_id
        catalogue = _catalogue(lakehouse, FittedRanker.load(folder), items, rules, settings, is_of_fit=is_of_fit)
        uncounted = uncounted_worths(catalogue.ranker, config.worths)
        catalogue = index_catalogue(catalogue, config)
        of_search = {}
        if catalogue.index is not None:
            share = measured_recall(catalogue, load_sample(lakehouse, profiles, day, config.approximate), config)
            registry.log_metrics(champion, {f"scoring.recall@{config.k}": share})
            of_search["recall_percent"] = int(100 * share)
        # A place of its own: workers keep what they read from a place, maybe another catalogue of this run.
        uri = lakehouse.staging_path(f"catalogue-{uuid.uuid4().hex}")
        hashes = save_catalogue(catalogue, folder, uri) | _hashes_of(settings)
    attributes = {*catalogue.ranker.attribute_names, *user_attributes_of(settings.showing, day)}
    profiles = with_input_hash(without_unread(profiles, catalogue.ranker), sorted(attributes))
    new_slices = dict.fromkeys(SLICED, PublishedSlice(day, version, hashes))
    if config.only_affected:
        affected = find_affected(lakehouse, published, profiles, new_slices, k=config.k)
    else:
        affected = score_everyone(profiles, "scoring.only_affected is off")
    num_tasks = 2 * (1 + affected.num_scored // config.users_per_task)
    task = ScoringTask(uri, config, settings.reranking)
    scored = score_profiles(lakehouse, affected.profiles, task, day, num_tasks)
    new = NewLists(
        lists=scored,
        profiles=affected.profiles,
        items=lakehouse.read("item"),
        as_of=day,
        k=config.k,
        is_sorted=not settings.reranking.is_on,
        kept=affected.kept,
    )
    with lakehouse.many_rows((affected.num_scored + affected.kept.num_lists) * config.k):
        checked = check_before_publishing(lakehouse, new, config.checks)
        writes = _writes_of_users(lakehouse, scored, affected, checked, new_slices["user_topk"], config)
        if affected.replaced is None:
            writes.append(lambda: _write_items(lakehouse, catalogue, uri, scored, champion, config, day))
        side_by_side(writes)
    # Last and in one commit: a reader that follows it never meets a table that is not there yet.
    name_slices(lakehouse, new_slices)
    ensure_current_views(lakehouse, SLICED)
    counts = {
        "users": checked[LISTS],
        "users.scored": affected.num_scored,
        "users.kept": affected.kept.num_lists,
        "items": num_items,
        **of_search,
        "short_lists": checked[SHORT],
        "items_kept_out": int((items.is_available & ~rules.is_listed).sum()),
    }
    return ScoringResult(counts, affected.reason, uncounted)


def _hashes_of(settings: ScoringSettings) -> dict[str, str]:
    """Hashes of what lists follow from besides the catalogue: settings of lists, and the code that makes them."""
    chosen = {
        "lists": settings.scoring.model_dump(
            include={
                "k",
                "explained_ranks",
                "outcome_ranks",
                "num_reasons",
                "num_neighbors",
                "num_questions",
                "search",
                "worths",
                "path_reasons",
            }
        ),
        "approximate": settings.scoring.approximate.model_dump(),
        "reranking": settings.reranking.model_dump(mode="json"),
    }
    text = json.dumps(chosen, sort_keys=True)
    return {"settings": hashlib.sha256(text.encode()).hexdigest(), "library": source_version([Path(__file__)])}


def _catalogue(
    lakehouse: Lakehouse,
    ranker: FittedRanker,
    items: SnapshotItems,
    rules: ItemRules,
    settings: ScoringSettings,
    *,
    is_of_fit: bool,
) -> Catalogue:
    @cache
    def contents() -> Mapping[str, Content]:
        return load_fit_contents(lakehouse, items, "fit3")

    facts = None
    if settings.reranking.is_on:
        brand = settings.showing.brand_attribute
        facts = item_facts(items, lambda: content_space(contents()), settings.reranking, brand)
        facts = replace(facts, is_new=new_items(items.item_ids, ranker))
    catalogue = build_catalogue(ranker, items, contents, rules, facts, is_of_fit=is_of_fit)
    catalogue = with_scorer(lakehouse, catalogue, items, settings.scorer)
    if not (settings.scoring.path_reasons and settings.scoring.explained_ranks):
        return catalogue
    # Contents that were read hold the tokens too.
    tokens = contents() if contents.cache_info().currsize else load_tokens(lakehouse, items)
    return replace(catalogue, nodes=nodes_of_contents(tokens, len(items.item_ids)))


def _writes_of_users(
    lakehouse: Lakehouse,
    scored: WorkerFiles,
    affected: Affected,
    checked: Mapping[str, int],
    target: PublishedSlice,
    config: ScoringConfig,
) -> list[Callable[[], object]]:
    """Write lists and vectors: whole slices, or those of some users, whose rows may be marked as deleted."""
    day, version = target.day, target.version
    if config.deletion_vectors:
        lakehouse.mark_deleted_rows("user_topk", "user_vector")
    rows = scored.frame(lakehouse.spark)
    lists = _topk_rows(rows).select(F.lit(day).alias("as_of_date"), "*", F.lit(version).alias("model_version"))
    vectors = rows.select(F.lit(version).alias("model_version"), "user_id", "vector", "input_hash")
    of_day, of_version = {"as_of_date": day}, {"model_version": version}
    replaced = affected.replaced
    if replaced is None:
        return [
            lambda: lakehouse.replace_slice("user_topk", Staged(lists, checked[ENTRIES]), of_day),
            lambda: lakehouse.replace_slice("user_vector", Staged(vectors, scored.num_rows), of_version),
        ]
    return [
        lambda: lakehouse.replace_keys("user_topk", Staged(lists), replaced),
        lambda: lakehouse.replace_keys(
            "user_vector", Staged(vectors), lakehouse.stored_keys("user_vector", of_version, replaced.owners)
        ),
    ]


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
        F.col("entry.probabilities").alias("probabilities"),
        F.col("entry.expected_values").alias("expected_values"),
        F.col("entry.expected_worths").alias("expected_worth"),
        F.col("entry.paths").alias("path"),
    )


def distilled_scale(
    lakehouse: Lakehouse, catalogue: Catalogue, scored: WorkerFiles
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """[dim] root mean square of users' vectors in each distilled dimension, and [dim] their deviation in it.

    The distilled item vectors are orthonormal; only with these lengths is their cosine a likeness that users see. The
    deviation is that of users with history: how far a new one may be from the mean.
    """
    dim = catalogue.ranker.distilled.shape[1]

    def sums(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        found = np.zeros(2 * dim + 1)
        for batch in batches:
            vectors = vectors_of_arrow(batch["vector"])[:, :dim].astype(np.float64)
            found += np.concatenate([vectors.sum(0), (vectors**2).sum(0), [vectors.any(axis=1).sum()]])
        yield pa.RecordBatch.from_pydict({"sums": [found.tolist()]})

    parts = scored.map_in_workers(lakehouse.spark, ["vector"], sums, "sums array<double>").collect()
    found = np.sum([row["sums"] for row in parts], axis=0) if parts else np.zeros(2 * dim + 1)
    mean, square, share = np.split(found / max(scored.num_rows, 1), [dim, 2 * dim])
    share = np.maximum(share, np.finfo(np.float64).tiny)
    # Rounded, so that the order of a parallel sum cannot change a list.
    lengths = np.round(np.sqrt(square), 6)
    # Vectors of users without history are zero here and count in neither mean.
    deviations = np.round(np.sqrt(np.maximum(square / share - (mean / share) ** 2, 0.0)), 6)
    return lengths.astype(np.float32), deviations.astype(np.float32)


def _write_items(
    lakehouse: Lakehouse,
    catalogue: Catalogue,
    catalogue_uri: str,
    scored: WorkerFiles,
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
        Staged(lakehouse.from_arrow(vectors, ITEM_VECTOR), num_items),
        {"model_version": champion.version},
    )
    scale, deviation = distilled_scale(lakehouse, catalogue, scored)
    questions = question_rows(catalogue, deviation, config.num_questions, day, champion.version)
    lakehouse.replace_slice(
        "elicitation_item", Staged(lakehouse.from_arrow(questions, ELICITATION_ITEM)), {"as_of_date": day}
    )
    found = neighbors_over_partitions(lakehouse, catalogue_uri, num_items, scale, config.num_neighbors)
    neighbors = found.frame(lakehouse.spark).select(
        F.lit(day).alias("as_of_date"), *found.schema.names, F.lit(champion.version).alias("model_version")
    )
    lakehouse.replace_slice("item_neighbor", Staged(neighbors, found.num_rows), {"as_of_date": day})
