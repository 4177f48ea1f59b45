"""The ranker as an MLflow model, as code: MLflow runs this file instead of unpickling an object.

Log it with `mlflow.pyfunc.log_model`, `python_model` the path of this file, `artifacts` {"ranker": folder of
FittedRanker.save}, `signature` what `signature()` says.

Input, one row a user:

- `item_ids`: the history, a list of item ids; None or an empty list for a user without one. Numbers are cast to text.
- `weights` (optional): one number an item, of any numeric type; None, as a whole or in the list, counts as 1.
- `attributes` (optional): the user's attributes, a mapping or a JSON object as text; None for none.
- `controls` (optional): what the user set, a list of mappings with `action`, `target_kind`, `target` and, where wanted,
  `strength`, or the same as JSON; None for none. Needs rules.
- `times` (optional): when each item was last turned to, in epoch seconds or as a date with a time; None, as a whole or
  in the list, is unknown. A model with a second stage tells from them what came last.
- `candidates` (optional): the item ids that are to be scored and ordered, all of them, also those of the history; ids
  that the model does not know are left out. None for the whole catalogue less the history.
- `context` (optional): what is known of the request, a mapping or a JSON object with some of `time` (epoch seconds or a
  date with a time), `market` (in place of the user's own), `device` and `search` (words of the last search); None for
  nothing. A model looks at the parts that its second stage was fitted with.

Output: `item_ids` and `scores` of the best items that are not in the history, best first; `probabilities`, a mapping
from outcome to one number an item, empty where the model has no heads; and `expected_worths`, one number an item, empty
without worths. The parameter `k` (default 10) is the length of the lists; of a row with candidates all are in the list.

Rules of what may be shown are a folder written by `showing.item_rules.ItemRules.save`, named when the model is loaded:
`mlflow.pyfunc.load_model(uri, model_config={"rules": folder})`. They decide before selection. Worths of outcomes, by
which lists are then ordered, are named there too: `{"worths": {"purchase": 10}}`. A version in whose
lists a scorer has a weight is refused, unless `{"scorer": "left_out"}` says that lists in the order before it will do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from mlflow.models import ModelSignature, set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType, Array, Map
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.models.attributes import group_values
from mmrec_lib.models.data import Histories, Ints, histories_of_lists
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.ranker.served_context import read_context
from mmrec_lib.models.ranker.served_heads import WORTHS_KEY, HeadLists, read_worths
from mmrec_lib.models.ranker.shown import (
    RULES_KEY,
    epoch_seconds,
    is_missing,
    load_rules,
    parsed_mapping,
    read_controls,
    select_shown,
)
from mmrec_lib.showing.item_rules import ItemRules
from mmrec_lib.topk.selection import NO_ITEM

DEFAULT_K = 10
SCORER_KEY, LEFT_OUT = "scorer", "left_out"
DEFAULT_CONFIG = {RULES_KEY: None, WORTHS_KEY: None, SCORER_KEY: None}
"""The `model_config` that the model is logged with: MLflow ignores keys that are not in it when it loads a model."""
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
                ColSpec(AnyType(), "controls", required=False),
                # Last, because `spark_udf` takes columns by their places, and callers of earlier models name fewer.
                ColSpec(AnyType(), "times", required=False),
                ColSpec(AnyType(), "candidates", required=False),
                ColSpec(AnyType(), "context", required=False),
            ]
        ),
        outputs=Schema(
            [
                ColSpec(Array(DataType.string), "item_ids"),
                ColSpec(Array(DataType.double), "scores"),
                ColSpec(Map(Array(DataType.double)), "probabilities"),
                ColSpec(Array(DataType.double), "expected_worths"),
            ]
        ),
        params=ParamSchema([ParamSpec("k", DataType.long, DEFAULT_K)]),
    )


def recommend(
    ranker: FittedRanker,
    model_input: pd.DataFrame,
    k: int = DEFAULT_K,
    rules: ItemRules | None = None,
    worths: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """The best items of each row that are not in its history, or its candidates, as far as they may be shown.

    Args:
        ranker: The model.
        model_input: One row a user; see the module.
        k: Length of the lists of rows without candidates; shorter where there are fewer items.
        rules: What may be shown to whom, in the order of the model's items; None shows everything to everybody.
        worths: Worth of each outcome; lists are in the order of expected worth. None keeps the model's order.

    Returns:
        Columns item_ids, scores and expected_worths, lists, best first, and probabilities, mappings to such lists; the
        index is the input's.

    Raises:
        ModelError: When there is no column item_ids, or a value cannot be read; the message names row and column.
    """
    if "item_ids" not in model_input:
        raise ModelError(f"ranker input: needs a column item_ids, got {list(model_input.columns)}")
    if k < 1:
        raise ModelError(f"ranker input: the parameter k is the length of the lists and at least 1, got {k}")
    num_rows = len(model_input)
    item_ids, weights, times = [], [], []
    columns = (_column(model_input, name) for name in ("item_ids", "weights", "times"))
    for row, (items, own, moments) in enumerate(zip(*columns, strict=True)):
        ids, numbers, seconds = _history(row, items, own, moments)
        item_ids.append(ids)
        weights.append(numbers)
        times.append(seconds)
    people = [_attributes(row, value) for row, value in enumerate(_column(model_input, "attributes"))]
    controls = [read_controls(row, value) for row, value in enumerate(_column(model_input, "controls"))]
    if rules is None and any(controls):
        row = next(row for row, own in enumerate(controls) if own)
        raise ModelError(f"ranker input, row {row}: controls need rules; load the model with model_config rules")
    histories = histories_of_lists(ranker.item_index, item_ids, weights, times=times)
    context = read_context(_column(model_input, "context"))
    histories = Histories(histories.weights, group_values(people), histories.times, context)
    found: dict[str, list[Any]] = {name: [] for name in ("item_ids", "scores", "probabilities", "expected_worths")}
    candidates = [_candidates(ranker, row, value) for row, value in enumerate(_column(model_input, "candidates"))]
    for start in range(0, num_rows, _BLOCK_ROWS):
        rows = slice(start, min(start + _BLOCK_ROWS, num_rows))
        block = histories.rows(np.arange(rows.start, rows.stop))
        users = ranker.project(block)
        block_scores = users.vectors @ ranker.item_vectors().T
        hidden = _hidden(block.weights, candidates[rows])
        block_scores[np.repeat(np.arange(len(block)), np.diff(hidden.indptr)), hidden.indices] = -np.inf
        lengths = np.array([k if own is None else len(own) for own in candidates[rows]])
        longest = max(1, int(lengths.max()))
        lists = HeadLists(ranker, users, worths or {})
        if rules is None:
            top = lists.select(block_scores, longest)
        else:
            top = select_shown(block_scores, hidden, rules, people[rows], controls[rows], longest, select=lists.select)
        is_within = np.arange(top.indices.shape[1]) < lengths[:, None]
        listed = np.where(is_within, top.indices, NO_ITEM)
        is_item: npt.NDArray[np.bool_] = listed != NO_ITEM
        for own, indices, values in zip(is_item, listed, top.scores, strict=True):
            found["item_ids"].append(ranker.item_ids[indices[own]].tolist())
            found["scores"].append(values[own].astype(float).tolist())
        probabilities, expected = lists.told(listed)
        found["probabilities"] += probabilities
        found["expected_worths"] += expected
    answers = {name: pd.Series(values, dtype=object) for name, values in found.items()}
    return pd.DataFrame(answers).set_axis(model_input.index, axis=0)


def require_no_scorer(ranker: FittedRanker, scorer: Any) -> None:
    """Check that lists of a served model are those that were evaluated.

    Raises:
        ModelError: When a scorer has a weight in the lists, which a served model cannot ask, and the configuration does
            not say that it is to be left out.
    """
    if ranker.scorer is not None and ranker.scorer.is_used and scorer != LEFT_OUT:
        raise ModelError(
            f"ranker: the lists of this version are ordered with the scorer {ranker.scorer.name}, which a served model "
            f"does not have; read user_topk, or load the model with model_config {{{SCORER_KEY!r}: {LEFT_OUT!r}}} for "
            "lists in the order before it."
        )


class RankerModel(PythonModel):  # type: ignore[misc]  # mlflow is not followed by the type checker
    """Histories in, ranked lists out; see the module."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the saved ranker from the artifact `ranker`, and the rules that the configuration names."""
        self._ranker = FittedRanker.load(Path(context.artifacts["ranker"]))
        config = context.model_config or {}
        require_no_scorer(self._ranker, config.get(SCORER_KEY))
        self._rules = load_rules(config.get(RULES_KEY), self._ranker.item_ids)
        self._worths = read_worths(config.get(WORTHS_KEY), self._ranker)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """The best unseen items of each row; the parameter k is the length of the lists."""
        k = (params or {}).get("k")
        return recommend(self._ranker, model_input, DEFAULT_K if k is None else int(k), self._rules, self._worths)


def _candidates(ranker: FittedRanker, row: int, value: Any) -> Ints | None:
    """Positions of the candidates that the model knows, each once; None where all items are."""
    if is_missing(value):
        return None
    wanted = np.array([_item_id(row, one) for one in _listed(row, "candidates", value)], dtype=np.object_)
    return np.unique(ranker.item_index.positions(wanted[ranker.item_index.known(wanted)]))


def _hidden(seen: sparse.csr_matrix, candidates: Sequence[Ints | None]) -> sparse.csr_matrix:
    """[n, I] an entry for each item that a list must not have: the history, or all but the candidates."""
    if all(own is None for own in candidates):
        return seen
    everything = np.arange(seen.shape[1])
    rows = [
        seen.indices[start:end] if own is None else np.setdiff1d(everything, own, assume_unique=True)
        for own, start, end in zip(candidates, seen.indptr, seen.indptr[1:], strict=False)
    ]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    columns = np.concatenate(rows).astype(np.int64)
    return sparse.csr_matrix((np.ones(len(columns), np.float32), columns, indptr), shape=seen.shape)


def _column(model_input: pd.DataFrame, name: str) -> list[Any]:
    """Values of a column, None where it is missing."""
    return model_input[name].tolist() if name in model_input else [None] * len(model_input)


def _history(row: int, items: Any, weights: Any, times: Any) -> tuple[list[str], list[float], list[float]]:
    """Item ids as text, their weights and times; entries without an id are left out."""
    ids = _listed(row, "item_ids", items)
    given = {"weight": _listed(row, "weights", weights), "time": _listed(row, "times", times)}
    for name, values in given.items():
        if values and len(values) != len(ids):
            raise ModelError(
                f"ranker input, row {row}: needs one {name} an item, got {len(values)} {name}s for {len(ids)} items"
            )
    entries = zip(ids, *(values or [None] * len(ids) for values in given.values()), strict=True)
    known = [
        (_item_id(row, item), _weight(row, weight), epoch_seconds(row, "times", moment))
        for item, weight, moment in entries
        if not is_missing(item)
    ]
    return [item for item, _, _ in known], [weight for _, weight, _ in known], [seconds for _, _, seconds in known]


def _listed(row: int, column: str, value: Any) -> list[Any]:
    if is_missing(value):
        return []
    if isinstance(value, list | tuple | pd.Series) or (isinstance(value, np.ndarray) and value.ndim == 1):
        return list(value)
    raise ModelError(
        f"ranker input, row {row}: {column} must be a list or None, got {type(value).__name__} {str(value)[:80]!r}"
    )


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
    if is_missing(value):
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
    attributes = parsed_mapping(row, "attributes", value)
    if not isinstance(attributes, Mapping):
        raise ModelError(
            f"ranker input, row {row}: attributes must be a mapping or a JSON object, got {str(value)[:80]!r}"
        )
    return {str(name): None if is_missing(own) else _text(own) for name, own in attributes.items()}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)


set_model(RankerModel())
