"""User profiles over partitions → vectors, top-k lists and their explanations.

Arrow comes in and flat Arrow lists go out; between them are arrays over the users of a batch, never an object a user.

Shape letters: n users of a batch, k items of a list, K explained ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql.pandas.types import from_arrow_type
from pyspark.sql.types import ArrayType, DoubleType, FloatType, LongType, MapType, StringType, StructField, StructType
from scipy import sparse

from mmrec_lib.models.ranker.explanation import NO_REASON, ProjectedUsers, strongest_entries
from mmrec_lib.models.ranker.probabilities import Candidates as HeadCandidates
from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.reranking.facts import Candidates, UserFacts
from mmrec_lib.reranking.rerank import Reranker, build_reranker
from mmrec_lib.scoring.arrow_lists import lists_of_rows, maps_of_rows, vectors_to_arrow
from mmrec_lib.scoring.catalogue import Catalogue, load_catalogue
from mmrec_lib.scoring.config import ListConfig
from mmrec_lib.scoring.histories import history_of_today, known_histories, seen_items
from mmrec_lib.scoring.probabilities import candidates_of, head_columns, own_scores, some_count
from mmrec_lib.scoring.scorer import in_order_of_scorer, judged_places
from mmrec_lib.scoring.second_stage import in_second_stage
from mmrec_lib.showing.controls import user_blocks
from mmrec_lib.showing.item_rules import UserLimits
from mmrec_lib.showing.pins import place_pins
from mmrec_lib.tastes.paths import PATH, best_paths
from mmrec_lib.topk.exact import search
from mmrec_lib.topk.items import PreparedItems
from mmrec_lib.topk.merging import merge_lists
from mmrec_lib.topk.selection import NO_ITEM, TopItems, empty_top

SHARES = MapType(StringType(), DoubleType())
SHARES_IN_ARROW = pa.map_(pa.string(), pa.float64())
SCORED = StructType(
    [
        StructField("user_id", StringType()),
        StructField("vector", ArrayType(FloatType())),
        StructField("seen_item_ids", ArrayType(StringType())),
        StructField("input_hash", LongType()),
        StructField("item_ids", ArrayType(StringType())),
        StructField("scores", ArrayType(DoubleType())),
        StructField("propensities", ArrayType(DoubleType())),
        StructField("shares", ArrayType(SHARES)),
        StructField("reasons", ArrayType(ArrayType(StringType()))),
        StructField("probabilities", ArrayType(SHARES)),
        StructField("expected_values", ArrayType(SHARES)),
        StructField("expected_worths", ArrayType(DoubleType())),
        StructField("paths", ArrayType(from_arrow_type(PATH))),
    ]
)
"""One row a user: vector, items and scores best first; for the first of them shares, items of the history and paths.

Of the input pass through: seen_item_ids, which checks look at, and input_hash, see `affected`.
"""

RULES_SHARE, SECOND_STAGE_SHARE = "rules", "second_stage"
# Items that the users of one search keep out, at most: a muted category may be thousands of items a user.
_MAX_BLOCKED = 20_000_000
# Users that a task gathers before it searches a catalogue of several blocks, at most.
_MAX_GATHERED = 20_000
# Users of each matrix product of their vectors: enough to be quick, few enough that filling up the last costs little.
USERS_AT_ONCE = 128


@dataclass(frozen=True)
class ScoringTask:
    """Settings of the tasks of a scoring run.

    Attributes:
        catalogue_uri: Written by `save_catalogue`.
        lists: Lengths of lists and explanations.
        reranking: Steps after the search.
    """

    catalogue_uri: str
    lists: ListConfig
    reranking: RerankingConfig


def score_partition(batches: Iterator[pa.RecordBatch], task: ScoringTask) -> Iterator[pa.RecordBatch]:
    """Work of one task; a task without users, of which small stores have many, loads no catalogue.

    Where the catalogue is searched in blocks, users are gathered first, so that each block is prepared once for many.
    """
    gathered: list[_Projected] = []
    for batch in batches:
        if not batch.num_rows:
            continue
        catalogue = load_catalogue(task.catalogue_uri)
        controls = _controls(batch)
        for start, end in user_blocks(controls, catalogue.rules.controls, batch.num_rows, _MAX_BLOCKED):
            gathered.append(_project(batch.slice(start, end - start), catalogue))
            if not catalogue.is_cut(task.lists.items_per_block) or _are_enough(gathered):
                yield from _score(gathered, catalogue, task.lists, task.reranking)
                gathered = []
    if gathered:
        yield from _score(gathered, load_catalogue(task.catalogue_uri), task.lists, task.reranking)


def score_batch(
    batch: pa.RecordBatch, catalogue: Catalogue, config: ListConfig, reranking: RerankingConfig
) -> pa.RecordBatch:
    """Score the users of a batch.

    Args:
        batch: user_id, attributes, history_items, history_weights, seen_item_ids, input_hash, seed; history_times,
            where they are known, and controls, if any.
        catalogue: Items, model and rules.
        config: Lengths of lists and explanations.
        reranking: Steps after the search.
    """
    return next(_score([_project(batch, catalogue)], catalogue, config, reranking))


@dataclass(frozen=True)
class _Projected:
    """Users of a batch before the search.

    Attributes:
        batch: See `score_batch`.
        users: Their vectors, and what an explanation needs.
        vectors: [n, dim] their vectors with what rules add.
        limits: Rules for each of them.
        hidden: [n, I] items that each of them must not get.
    """

    batch: pa.RecordBatch
    users: ProjectedUsers
    vectors: NDArray[np.float32]
    limits: UserLimits
    hidden: sparse.csr_matrix


def _project(batch: pa.RecordBatch, catalogue: Catalogue) -> _Projected:
    ranker, rules = catalogue.ranker, catalogue.rules
    users = ranker.project(known_histories(batch, catalogue), search_in_task, USERS_AT_ONCE)
    limits = rules.of_users(batch["attributes"], _controls(batch))
    seen = seen_items(batch, catalogue)
    hidden = seen if limits.blocked is None else sparse.csr_matrix(seen + limits.blocked)
    vectors = np.hstack([users.vectors, limits.user_boosts]) if limits.user_boosts.shape[1] else users.vectors
    return _Projected(batch, users, vectors, limits, hidden)


def _are_enough(gathered: list[_Projected]) -> bool:
    return (
        sum(len(one.users) for one in gathered) >= _MAX_GATHERED
        or sum(one.hidden.nnz for one in gathered) >= _MAX_BLOCKED
    )


def _score(
    gathered: list[_Projected], catalogue: Catalogue, config: ListConfig, reranking: RerankingConfig
) -> Iterator[pa.RecordBatch]:
    """Search each block of the catalogue once for all gathered users, then finish the lists of each batch."""
    num_listed = max(config.k, reranking.num_candidates) if reranking.is_on else config.k
    second_stage, heads = catalogue.ranker.second_stage, catalogue.ranker.heads
    if heads is not None and some_count(catalogue.ranker, config.worths):
        num_listed = max(num_listed, heads.num_candidates)
    num_listed = max(num_listed, num_judged := judged_places(catalogue, config.worths))
    num_candidates = num_listed if second_stage is None else max(num_listed, second_stage.num_candidates)
    tops = _candidates(gathered, catalogue, num_candidates, config.items_per_block)
    for one, top in zip(gathered, tops, strict=True):
        ordered = top if second_stage is None else in_second_stage(one.users, top, catalogue, num_listed)
        candidates = candidates_of(one.users, ordered, catalogue, one.limits, config.worths)
        known = ordered if candidates is None else candidates.top
        judged = in_order_of_scorer(one.batch, known, catalogue, num_judged)
        yield _finished(one, judged, candidates, catalogue, config, reranking)


def _candidates(gathered: list[_Projected], catalogue: Catalogue, k: int, items_per_block: int) -> list[TopItems]:
    """The k best items of the users of each batch, by the catalogue's index or exactly; a task has one core."""
    if catalogue.index is not None:
        return [
            catalogue.index.search(
                catalogue.prepared, one.vectors, k, seen=one.hidden, group_of_user=one.limits.group_of_user
            )
            for one in gathered
        ]
    is_cut = catalogue.is_cut(items_per_block)
    by_item = [sparse.csc_matrix(one.hidden) for one in gathered] if is_cut else []
    tops: list[TopItems] = []
    for rows, items in catalogue.blocks(items_per_block):
        for at, one in enumerate(gathered):
            seen = sparse.csr_matrix(by_item[at][:, rows]) if is_cut else one.hidden
            part = search(items, one.vectors, k, seen=seen, group_of_user=one.limits.group_of_user, num_threads=1)
            if rows.start == 0:
                tops.append(merge_lists([part], k, first_items=[0]))
            else:
                tops[at] = merge_lists([tops[at], part], k, first_items=[0, rows.start])
    return tops


def _finished(
    projected: _Projected,
    top: TopItems,
    candidates: HeadCandidates | None,
    catalogue: Catalogue,
    config: ListConfig,
    reranking: RerankingConfig,
) -> pa.RecordBatch:
    """Rows of `SCORED` of candidates in their order: re-ranked, with pins, explanations and probabilities."""
    batch, users, limits, rules = projected.batch, projected.users, projected.limits, catalogue.rules
    propensity = None
    reranker = _reranker(reranking)
    if reranker is not None:
        assert catalogue.facts is not None
        # Worths choose from more candidates than re-ranking is to look at.
        looked_at = slice(0, max(config.k, reranking.num_candidates))
        top = TopItems(top.indices[:, looked_at], top.scores[:, looked_at])
        pool = _new_items(catalogue, projected, top.k) if reranking.exploration is not None else None
        facts = UserFacts(history_of_today(batch, catalogue), batch["seed"].to_numpy().view(np.uint64), pool)
        lists = reranker(Candidates(top.indices, top.scores), catalogue.facts, facts, config.k)
        top, propensity = TopItems(lists.indices, lists.scores), lists.propensity
    if rules.pins:
        pinned = place_pins(top.indices, top.scores, limits, rules, config.k, hidden=projected.hidden)
        top = TopItems(pinned.indices, pinned.scores)
    top = TopItems(top.indices[:, : config.k], top.scores[:, : config.k])
    is_filled = top.indices != NO_ITEM
    lengths = is_filled.sum(axis=1)
    boosts = np.einsum("nd,nkd->nk", limits.user_boosts, rules.item_boosts[top.indices[:, : config.explained_ranks]])
    own = own_scores(candidates, top.indices, users, catalogue, config.worths)
    shares, reasons = _explained(catalogue, users, top, boosts, own, config)
    if propensity is None:
        propensities = pa.nulls(len(users)).cast(pa.list_(pa.float64()))
    else:
        propensities = lists_of_rows(pa.array(propensity[is_filled].astype(np.float64)), lengths)
    return pa.RecordBatch.from_arrays(
        [
            batch["user_id"],
            vectors_to_arrow(users.vectors),
            batch["seen_item_ids"],
            batch["input_hash"],
            lists_of_rows(catalogue.arrow_ids.take(pa.array(top.indices[is_filled])), lengths),
            lists_of_rows(pa.array(top.scores[is_filled].astype(np.float64)), lengths),
            propensities,
            shares,
            reasons,
            *head_columns(candidates, top.indices, users, catalogue, config),
            _paths(catalogue, batch, top, config),
        ],
        names=SCORED.names,
    )


@lru_cache(maxsize=1)
def _reranker_of(config: str) -> Reranker | None:
    # A task has one core.
    return build_reranker(RerankingConfig.model_validate_json(config), num_threads=1)


def _reranker(config: RerankingConfig) -> Reranker | None:
    """The steps, kept for all batches of a worker with what they prepared of the items."""
    return _reranker_of(config.model_dump_json()) if config.is_on else None


def _new_items(catalogue: Catalogue, projected: _Projected, num_candidates: int) -> Candidates:
    """The best new items of each user, which would seldom be among the best of all items."""
    places = catalogue.new_places
    if not len(places):
        empty = empty_top(len(projected.users), 1)
        return Candidates(empty.indices, empty.scores)
    top = search(
        catalogue.prepared_new,
        projected.vectors,
        min(num_candidates, len(places)),
        seen=sparse.csr_matrix(sparse.csc_matrix(projected.hidden)[:, places]),
        group_of_user=projected.limits.group_of_user,
        num_threads=1,
    )
    indices = np.where(top.indices == NO_ITEM, NO_ITEM, places[top.indices]).astype(np.int32)
    return Candidates(indices, top.scores)


def search_in_task(items: PreparedItems, vectors: NDArray[np.float32], k: int, seen: sparse.csr_matrix) -> TopItems:
    """Search for `FittedRanker.project`; a task has one core."""
    return search(items, vectors, k, seen=seen, num_threads=1)


def _controls(batch: pa.RecordBatch) -> pa.Array | None:
    return batch["controls"] if "controls" in batch.schema.names else None


def _explained(
    catalogue: Catalogue,
    users: ProjectedUsers,
    top: TopItems,
    boosts_NK: NDArray[np.float32],
    own_Nk: NDArray[np.float32] | None,
    config: ListConfig,
) -> tuple[pa.ListArray, pa.ListArray]:
    """Shares and reasons of the first items of each list; an item after the fit has its own score as `content`."""
    if not config.explained_ranks:
        empty = pa.nulls(len(users))
        return empty.cast(pa.list_(SHARES_IN_ARROW)), empty.cast(pa.list_(pa.list_(pa.string())))
    indices, scores = top.indices[:, : config.explained_ranks], top.scores[:, : config.explained_ranks]
    # The tail of a short list is padded, and items that came after the fit have no position in it.
    is_filled = indices != NO_ITEM
    in_model = is_filled.copy()
    in_model[is_filled] = catalogue.in_model.known[indices[is_filled]]
    at = np.zeros(indices.shape, dtype=np.int64)
    at[in_model] = catalogue.in_model.of(indices[in_model])
    explained = catalogue.ranker.explain(users, at)
    scores = np.where(is_filled, scores, np.float32(0))
    own_NK = scores - boosts_NK if own_Nk is None else own_Nk[:, : config.explained_ranks]
    parts = explained.shares | {RULES_SHARE: boosts_NK}
    if catalogue.ranker.second_stage is not None or catalogue.scorer is not None:
        parts[SECOND_STAGE_SHARE] = own_NK - np.sum(
            [share.astype(np.float64) for share in explained.shares.values()], axis=0
        )
    names = sorted(parts)
    values = np.stack([np.where(in_model, parts[name], 0.0) for name in names], axis=2, dtype=np.float64)
    values[:, :, names.index(RULES_SHARE)] = boosts_NK
    values[:, :, names.index("content")] += np.where(in_model, 0.0, own_NK)
    # Taken from the published score, so that the shares add up to it to the last bit that matters.
    residual = names.index("residual")
    values[:, :, residual] = 0.0
    values[:, :, residual] = scores - values.sum(axis=2)
    lengths = is_filled.sum(axis=1)
    return (
        lists_of_rows(maps_of_rows(values[is_filled], names, always="residual"), lengths),
        lists_of_rows(_reasons(catalogue, users, explained.pulls, in_model, is_filled, config.num_reasons), lengths),
    )


def _paths(catalogue: Catalogue, batch: pa.RecordBatch, top: TopItems, config: ListConfig) -> pa.ListArray:
    """The best path to each of the first items of each list."""
    if catalogue.nodes is None or not config.explained_ranks:
        return pa.nulls(batch.num_rows).cast(pa.list_(PATH))
    indices = top.indices[:, : config.explained_ranks]
    is_filled = indices != NO_ITEM
    found = best_paths(history_of_today(batch, catalogue), indices, catalogue.nodes)
    paths = found.arrow(is_filled, catalogue.nodes, catalogue.arrow_ids)
    return lists_of_rows(paths, is_filled.sum(axis=1))


def _reasons(
    catalogue: Catalogue,
    users: ProjectedUsers,
    pulls: NDArray[np.float32],
    in_model: NDArray[np.bool_],
    is_filled: NDArray[np.bool_],
    num_reasons: int,
) -> pa.ListArray:
    """Items of the history that pull most, a list for each filled place."""
    entries = strongest_entries(pulls, users.known.indptr, num_reasons)
    entries[~in_model] = NO_REASON
    of_filled = entries[is_filled]
    is_reason = of_filled != NO_REASON
    in_fit = np.flatnonzero(catalogue.ranker.warm)[users.known.indices[of_filled[is_reason]]]
    today = catalogue.of_model.of(in_fit)
    return lists_of_rows(catalogue.arrow_ids.take(pa.array(today)), is_reason.sum(axis=1))
