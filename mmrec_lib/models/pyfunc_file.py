"""The ranker as an MLflow model, as code: MLflow runs this file instead of unpickling an object.

Log it with `mlflow.pyfunc.log_model`, `python_model` the path of this file, `artifacts` {"ranker": folder of
FittedRanker.save}.

Input: one row a user, `item_ids` (list of strings, the history), optionally `weights` (list of numbers of the same
length) and `attributes` (JSON object of the user's attributes). Output: `item_ids` and `scores` of the best items that
are not in the history, best first. The parameter `k` (default 10) is the length of the lists.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from mmrec_lib.errors import ModelError
from mmrec_lib.models.data import histories_of_lists
from mmrec_lib.models.ranker import FittedRanker
from mmrec_lib.topk.selection import NO_ITEM, select_top

DEFAULT_K = 10


def recommend(ranker: FittedRanker, model_input: pd.DataFrame, k: int = DEFAULT_K) -> pd.DataFrame:
    """The best items of each row that are not in its history.

    Args:
        ranker: The model.
        model_input: One row a user; see the module.
        k: Length of the lists; shorter where there are fewer items.

    Returns:
        Columns item_ids and scores, lists, best first; the index is the input's.

    Raises:
        ModelError: When the input has no column item_ids, or weights and item_ids differ in length.
    """
    if "item_ids" not in model_input:
        raise ModelError(f"ranker input: needs a column item_ids, got {list(model_input.columns)}")
    item_ids = [_listed(value) for value in model_input["item_ids"]]
    weights = [_listed(value) for value in model_input["weights"]] if "weights" in model_input else None
    attributes = [_parsed(value) for value in model_input["attributes"]] if "attributes" in model_input else None
    histories = histories_of_lists(ranker.item_ids, item_ids, weights, attributes)
    scores = ranker.score(histories)
    seen = histories.weights
    scores[np.repeat(np.arange(len(histories)), np.diff(seen.indptr)), seen.indices] = -np.inf
    top = select_top(scores, k)
    lists = [[place for place in row if place != NO_ITEM] for row in top.indices.tolist()]
    return pd.DataFrame(
        {
            "item_ids": [ranker.item_ids[row].tolist() for row in lists],
            "scores": [top.scores[user, : len(row)].astype(float).tolist() for user, row in enumerate(lists)],
        },
        index=model_input.index,
    )


class RankerModel(PythonModel):  # type: ignore[misc]  # mlflow is not followed by the type checker
    """Histories in, ranked lists out; see the module."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the saved ranker from the artifact `ranker`."""
        self._ranker = FittedRanker.load(Path(context.artifacts["ranker"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """The best unseen items of each row; the parameter k is the length of the lists."""
        return recommend(self._ranker, model_input, int((params or {}).get("k", DEFAULT_K)))


def _listed(value: Any) -> list[Any]:
    # pandas turns missing lists into NaN.
    return list(value) if isinstance(value, list | tuple | np.ndarray) else []


def _parsed(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    return dict(json.loads(value)) if isinstance(value, str) and value else {}


set_model(RankerModel())
