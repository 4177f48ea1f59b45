"""Candidates of a scoring run in the order with the scorer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa

from mmrec_lib.features.item_texts import load_item_texts
from mmrec_lib.features.load import SnapshotItems
from mmrec_lib.features.scorer import require_same_scorer
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.ranker.scorer import in_scorer_order
from mmrec_lib.recipes.scorer_config import ScorerConfig
from mmrec_lib.scoring.catalogue import Catalogue
from mmrec_lib.scoring.catalogue_scorer import CatalogueScorer
from mmrec_lib.scoring.histories import histories_of_today
from mmrec_lib.scoring.probabilities import some_count
from mmrec_lib.topk.selection import TopItems


def with_scorer(
    lakehouse: Lakehouse, catalogue: Catalogue, items: SnapshotItems, config: ScorerConfig | None
) -> Catalogue:
    """The catalogue with the scorer that its ranker has a weight for; as it is, and nothing is read, without a weight.

    Raises:
        ModelError: When the ranker was trained with another scorer than the configured one.
        NoDataError: When the snapshot has no texts.
    """
    weight = catalogue.ranker.scorer
    if weight is None or not weight.is_used:
        return catalogue
    require_same_scorer(config, weight)
    assert config is not None
    texts = load_item_texts(lakehouse, items.snapshot_id, items.item_ids)
    return replace(catalogue, scorer=CatalogueScorer(texts, config, weight.revision))


def judged_places(catalogue: Catalogue, worths: Mapping[str, float]) -> int:
    """First places of each list that the scorer orders; 0 without one, and where worths decide the order."""
    weight = catalogue.ranker.scorer
    if catalogue.scorer is None or weight is None or some_count(catalogue.ranker, worths):
        return 0
    return weight.num_candidates


def in_order_of_scorer(batch: pa.RecordBatch, top: TopItems, catalogue: Catalogue, num_judged: int) -> TopItems:
    """Candidates with the first of them in the order with the scorer; the scores stay, in their order.

    Args:
        batch: Users; see `score_batch`.
        top: Their candidates in the ranker's order, with what rules add.
        catalogue: Items, model and scorer.
        num_judged: See `judged_places`.
    """
    weight = catalogue.ranker.scorer
    if not num_judged or weight is None or catalogue.scorer is None:
        return top
    values = catalogue.scorer.values(histories_of_today(batch, catalogue), top.indices[:, :num_judged])
    return in_scorer_order(top, values, weight)
