"""Heads against what followed in a part that nothing was fitted on."""

from __future__ import annotations

import numpy as np

from mmrec_lib.evaluation.config import EvaluationConfig
from mmrec_lib.evaluation.head_metrics import outcome_rows, quantity_rows
from mmrec_lib.evaluation.rows import MetricRow
from mmrec_lib.features.load import Snapshot
from mmrec_lib.models.data import Floats, Ints
from mmrec_lib.models.heads.outcomes import PairValues, event_of
from mmrec_lib.models.ranker.listed import listed_blocks
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.training.parts import compiled_search

_SEED = 0


def evaluate_heads(
    snapshot: Snapshot, fit: str, part: str, ranker: FittedRanker, config: EvaluationConfig
) -> list[MetricRow]:
    """Metrics of the ranker's heads over the lists of all users, a seeded sample above `max_users`.

    Args:
        snapshot: Data.
        fit: What the ranker was fitted on.
        part: test; on valid heads are no news, because they learned from it.
        ranker: The ranker with its heads.
        config: Bootstrap and sizes.
    """
    heads = ranker.heads
    if heads is None or not heads.kept:
        return []
    data = snapshot.fit_data(fit)
    users = np.arange(len(snapshot.user_ids))
    if len(users) > config.max_users:
        users = np.sort(np.random.default_rng(_SEED).choice(users, config.max_users, replace=False))
    block = config.block_users(len(snapshot.item_ids))
    told = snapshot.outcomes.get(part, {})
    nothing = PairValues.of(len(snapshot.item_ids), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    outcomes = {head.name: told.get(head.name, nothing) for head in heads.kept}
    user_parts: list[Ints] = []
    parts: dict[str, list[tuple[Floats, Floats]]] = {name: [] for name in outcomes}
    for pairs in listed_blocks(ranker, data, users, heads.num_candidates, block, compiled_search):
        user_parts.append(pairs.users)
        for head in heads.kept:
            values = pairs.quantities(outcomes[head.name])
            # Half the memory: all pairs of all users are here at once.
            parts[head.name].append((values.astype(np.float32), head(pairs.features).astype(np.float32)))
    of_pairs = np.concatenate(user_parts)
    rows: list[MetricRow] = []
    for head in heads.kept:
        values, predictions = (
            np.concatenate(column).astype(np.float64) for column in zip(*parts[head.name], strict=True)
        )
        has = ~np.isnan(values)
        drawing = {"num_bootstrap": config.num_bootstrap, "seed": _SEED}
        if event_of(head.name) is None:
            rows += outcome_rows(head.name, of_pairs, has.astype(np.float64), predictions, head.base_rate, **drawing)
        else:
            rows += quantity_rows(head.name, of_pairs[has], values[has], predictions[has], head.base_rate, **drawing)
    return rows
