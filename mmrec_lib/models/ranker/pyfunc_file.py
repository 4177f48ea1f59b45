"""The ranker as an MLflow model, as code: MLflow runs this file instead of unpickling an object.

Log it with `mlflow.pyfunc.log_model`, `python_model` the path of this file, `artifacts` {"ranker": folder of
FittedRanker.save}, `signature` what `signature()` says.

Input, one row a user:

- `item_ids`: the history, a list of item ids; None or an empty list for a user without one. Numbers are cast to text.
- `weights` (optional): one number an item, of any numeric type; None, as a whole or in the list, counts as 1.
- `attributes` (optional): the user's attributes, a mapping or a JSON object as text; None for none.

Output: `item_ids` and `scores` of the best items that are not in the history, best first. The parameter `k` (default
10) is the length of the lists.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from mlflow.models import ModelSignature, set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType, Array

from mmrec_lib.errors import ModelError
from mmrec_lib.models.attributes import group_values
from mmrec_lib.models.data import Histories, histories_of_lists
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.topk.selection import NO_ITEM, select_top

DEFAULT_K = 10
# Rows scored at once; the scores of a block take rows * items * 4 bytes.
_BLOCK_ROWS = 1_024


def signature() -> ModelSignature:
    """Schema of what the served model takes and gives, for MLflow.

    The inputs are of type Any: MLflow's typed lists refuse whole numbers where numbers with decimals are asked for, and
    None; `recommend` checks and casts every value itself.
    """
    return ModelSignature(
        inputs=Schema(
            [
                ColSpec(AnyType(), "item_ids"),
                ColSpec(AnyType(), "weights", required=False),
                ColSpec(AnyType(), "attributes", required=False),
            ]
        ),
        outputs=Schema([ColSpec(Array(DataType.string), "item_ids"), ColSpec(Array(DataType.double), "scores")]),
        params=ParamSchema([ParamSpec("k", DataType.long, DEFAULT_K)]),
    )


def recommend(ranker: FittedRanker, model_input: pd.DataFrame, k: int = DEFAULT_K) -> pd.DataFrame:
    """The best items of each row that are not in its history.

    Args:
        ranker: The model.
        model_input: One row a user; see the module.
        k: Length of the lists; shorter where there are fewer items.

    Returns:
        Columns item_ids and scores, lists, best first; the index is the input's.

    Raises:
        ModelError: When there is no column item_ids, or a value cannot be read; the message names row and column.
    """
    if "item_ids" not in model_input:
        raise ModelError(f"ranker input: needs a column item_ids, got {list(model_input.columns)}")
    if k < 1:
        raise ModelError(f"ranker input: the parameter k is the length of the lists and at least 1, got {k}")
    num_rows = len(model_input)
    item_ids, weights = [], []
    given = model_input["weights"].tolist() if "weights" in model_input else [None] * num_rows
    for row, (items, own) in enumerate(zip(model_input["item_ids"].tolist(), given, strict=True)):
        ids, numbers = _history(row, items, own)
        item_ids.append(ids)
        weights.append(numbers)
    people = model_input["attributes"].tolist() if "attributes" in model_input else [None] * num_rows
    histories = histories_of_lists(ranker.item_index, item_ids, weights)
    groups = group_values([_attributes(row, value) for row, value in enumerate(people)])
    histories = Histories(histories.weights, groups)
    lists: list[list[str]] = []
    scores: list[list[float]] = []
    for start in range(0, num_rows, _BLOCK_ROWS):
        block = histories.rows(np.arange(start, min(start + _BLOCK_ROWS, num_rows)))
        block_scores = ranker.score(block)
        seen = block.weights
        block_scores[np.repeat(np.arange(len(block)), np.diff(seen.indptr)), seen.indices] = -np.inf
        top = select_top(block_scores, k)
        for indices, values in zip(top.indices, top.scores, strict=True):
            is_item: npt.NDArray[np.bool_] = indices != NO_ITEM
            lists.append(ranker.item_ids[indices[is_item]].tolist())
            scores.append(values[is_item].astype(float).tolist())
    return pd.DataFrame(
        {"item_ids": pd.Series(lists, dtype=object), "scores": pd.Series(scores, dtype=object)}
    ).set_axis(model_input.index, axis=0)


class RankerModel(PythonModel):  # type: ignore[misc]  # mlflow is not followed by the type checker
    """Histories in, ranked lists out; see the module."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the saved ranker from the artifact `ranker`."""
        self._ranker = FittedRanker.load(Path(context.artifacts["ranker"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """The best unseen items of each row; the parameter k is the length of the lists."""
        k = (params or {}).get("k")
        return recommend(self._ranker, model_input, DEFAULT_K if k is None else int(k))


def _history(row: int, items: Any, weights: Any) -> tuple[list[str], list[float]]:
    """Item ids as text and their weights; entries without an id are left out."""
    ids = _listed(row, "item_ids", items)
    numbers = _listed(row, "weights", weights)
    if numbers and len(numbers) != len(ids):
        raise ModelError(
            f"ranker input, row {row}: needs one weight an item, got {len(numbers)} weights for {len(ids)} items"
        )
    pairs = zip(ids, numbers or [None] * len(ids), strict=True)
    known = [(_item_id(row, item), _weight(row, weight)) for item, weight in pairs if not _is_missing(item)]
    return [item for item, _ in known], [weight for _, weight in known]


def _listed(row: int, column: str, value: Any) -> list[Any]:
    if _is_missing(value):
        return []
    if isinstance(value, list | tuple | pd.Series) or (isinstance(value, np.ndarray) and value.ndim == 1):
        return list(value)
    raise ModelError(
        f"ranker input, row {row}: {column} must be a list or None, got {type(value).__name__} {str(value)[:80]!r}"
    )


def _is_missing(value: Any) -> bool:
    # pandas writes NaN, NaT or NA where a list or a number is missing.
    is_number = isinstance(value, float | np.floating)
    return value is None or value is pd.NA or value is pd.NaT or (is_number and math.isnan(value))


def _item_id(row: int, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(int(value))
    # pandas makes whole numbers decimal when one of them is missing.
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    raise ModelError(
        f"ranker input, row {row}: item_ids must be texts or whole numbers, got {type(value).__name__} {value!r:.80}"
    )


def _weight(row: int, value: Any) -> float:
    if _is_missing(value):
        return 1.0
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ModelError(f"ranker input, row {row}: weights must be finite numbers or None, got {value!r:.80}")
    return number


def _attributes(row: int, value: Any) -> dict[str, str | None]:
    """Attributes as the fit saw them: texts by name."""
    if _is_missing(value) or (isinstance(value, str) and not value.strip()):
        return {}
    attributes = value
    if isinstance(value, str):
        try:
            attributes = json.loads(value)
        except ValueError as error:
            raise ModelError(f"ranker input, row {row}: attributes is no JSON ({error}): {value[:80]!r}") from error
    if isinstance(attributes, list | tuple | np.ndarray) and all(
        isinstance(p, tuple) and len(p) == 2 for p in attributes
    ):
        attributes = dict(attributes)  # Arrow hands maps over as pairs
    if attributes is None:
        return {}
    if not isinstance(attributes, Mapping):
        raise ModelError(
            f"ranker input, row {row}: attributes must be a mapping or a JSON object, got {str(value)[:80]!r}"
        )
    return {str(name): None if _is_missing(own) else _text(own) for name, own in attributes.items()}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)


set_model(RankerModel())
