"""The figures of a run: the ranker's values, intervals and the test against the best other model."""

from __future__ import annotations

import numpy as np
import pytest

from mmrec_lib.evaluation import MetricRow
from mmrec_lib.models.data import Content
from mmrec_lib.training.evaluate import _logged
from mmrec_lib.training.parts import items_with_modality

# MLflow warns about type hints of its own modules when they are first imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")


def test_the_ranker_is_logged_with_intervals_and_against_the_best_other_model() -> None:
    rows = [
        MetricRow("ranker", "all", "ndcg", 10, 0.5, 0.4, 0.6, num_users=9),
        MetricRow("popularity", "all", "ndcg", 10, 0.1, 0.0, 0.2, 0.4, 0.3, 0.5, 9, 0.001, 0.002),
        MetricRow("ease", "all", "ndcg", 10, 0.3, 0.2, 0.4, 0.2, 0.1, 0.3, 9, 0.004, 0.004),
        MetricRow("ranker", "all", "auc", 0, 0.9, 0.8, 1.0, num_users=9),
        MetricRow("ease", "all", "auc", 0, 0.8, 0.7, 0.9, 0.1, 0.0, 0.2, 9, 0.01, 0.01),
        MetricRow("ranker", "activity:low", "ndcg", 10, 0.4, 0.3, 0.5, num_users=3),
        MetricRow("reranked", "lists", "gini", 10, 0.7, num_users=9),
    ]
    assert dict(_logged(rows)) == {
        "all.ndcg@10": 0.5,
        "all.ndcg@10.ci_low": 0.4,
        "all.ndcg@10.ci_high": 0.6,
        "all.ndcg@10.minus_best": 0.2,
        "all.ndcg@10.minus_best.p_adjusted": 0.004,
        "all.auc": 0.9,
        "activity:low.ndcg@10": 0.4,
        "activity:low.ndcg@10.ci_low": 0.3,
        "activity:low.ndcg@10.ci_high": 0.5,
        "lists.reranked.gini@10": 0.7,
    }


def test_a_modality_is_there_where_any_of_its_blocks_has_vectors_and_tokens_are_none() -> None:
    contents = {
        "text:title": Content.from_vectors("text:title", np.eye(3)[:, :2]),
        "text:review": Content.from_vectors("text:review", [[0.0], [0.0], [1.0]]),
        "image:images": Content.from_vectors("image:images", [[1.0], [0.0], [0.0]]),
        "attribute:color": Content.from_tokens("attribute:color", [["red"], [], []]),
    }
    found = items_with_modality(contents)
    assert {name: has.tolist() for name, has in found.items()} == {
        "text": [True, True, True],
        "image": [True, False, False],
    }
