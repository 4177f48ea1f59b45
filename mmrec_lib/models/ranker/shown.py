"""Rules and controls in the lists of a served model: decided before selection, by the code of the scoring job.

Shape letters: n users of a block, I items of the model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.models.data import Floats
from mmrec_lib.showing.controls import (
    ACTIONS,
    CONTROLS_TYPE,
    KEEP_OUT,
    TARGET_KINDS,
    FlatControls,
    blocked_items,
    soft_scores,
)
from mmrec_lib.showing.item_rules import ItemRules
from mmrec_lib.showing.pins import place_pins
from mmrec_lib.topk.selection import TopItems, select_top

RULES_KEY = "rules"
"""Key of `model_config` that names the folder of the rules; null shows everything to everybody."""
# The year 5138 in seconds, and 1973 in milliseconds.
_LATEST_SECONDS = 1e11
_ATTRIBUTES = pa.map_(pa.string(), pa.string())
_NEEDED = {"action": ACTIONS, "target_kind": TARGET_KINDS}

Control = Mapping[str, Any]


def load_rules(folder: str | None, item_ids: npt.NDArray[np.str_]) -> ItemRules | None:
    """Rules of a folder in the order of a model's items; None where no folder is named.

    Raises:
        ShowingError: When the folder holds no rules.
    """
    return None if folder is None else ItemRules.load(Path(folder)).of_items(pa.array(item_ids, pa.string()))


def select_shown(
    scores_NI: Floats,
    seen: sparse.csr_matrix,
    rules: ItemRules,
    attributes: Sequence[Mapping[str, str | None]],
    controls: Sequence[Sequence[Control]],
    k: int,
    select: Callable[[Floats, int], TopItems] = select_top,
) -> TopItems:
    """The best k items of each user that may be shown, with pins at their places.

    Args:
        scores_NI: Scores, -inf for seen items; changed in place.
        seen: [n, I] entries for items that a user must not get.
        rules: What may be shown to whom.
        attributes: Attributes of the users.
        controls: Controls of the users; see `read_controls`.
        k: Length of the lists.
        select: Selects the best k of scores that are -inf where nothing may be listed.

    Raises:
        ShowingError: When users have controls, and the rules were built without.
    """
    people = pa.array([[(n, v) for n, v in own.items() if v is not None] for own in attributes], _ATTRIBUTES)
    own_rules = rules.regrouped(people)
    limits = own_rules.of_users(people)
    dimensions = np.flatnonzero(limits.user_boosts.any(axis=0))
    if len(dimensions):
        scores_NI += limits.user_boosts[:, dimensions] @ rules.item_boosts[:, dimensions].T
    hidden = seen
    if any(controls):
        flat, index = FlatControls.of(pa.array(controls, CONTROLS_TYPE)), rules.require_controls()
        soft = soft_scores(flat, index, len(people))
        if soft is not None:
            scores_NI += soft.toarray()
        blocked = blocked_items(flat, index, rules.item_ids, len(people))
        if blocked is not None:
            scores_NI[np.repeat(np.arange(len(people)), np.diff(blocked.indptr)), blocked.indices] = -np.inf
            hidden = sparse.csr_matrix(seen + blocked)
    # Groups of these users alone: each has one, and what it may get is listed.
    may_get = rules.is_listed if own_rules.allowed is None else own_rules.allowed[limits.group_of_user]
    np.copyto(scores_NI, -np.inf, where=~may_get)
    top = select(scores_NI, k)
    if not rules.pins:
        return top
    pinned = place_pins(top.indices, top.scores, limits, own_rules, k, hidden=hidden)
    return TopItems(pinned.indices, pinned.scores)


def read_controls(row: int, value: Any) -> list[Control]:
    """Controls of a user from a list of mappings or JSON; empty where there are none.

    Raises:
        ModelError: When one cannot be read; the message names the row.
    """
    if is_missing(value) or (isinstance(value, str) and not value.strip()):
        return []
    found = parsed_json(row, "controls", value)
    if not isinstance(found, list | tuple | np.ndarray):
        raise ModelError(f"ranker input, row {row}: controls must be a list, got {str(value)[:80]!r}")
    return [_control(row, one) for one in found]


def is_missing(value: Any) -> bool:
    """True for None and for what pandas writes where a list or a number is missing: NaN, NaT or NA."""
    is_number = isinstance(value, float | np.floating)
    return value is None or value is pd.NA or value is pd.NaT or (is_number and math.isnan(value))


def parsed_json(row: int, column: str, value: Any) -> Any:
    """A value, or what JSON says where it is text.

    Raises:
        ModelError: When the text is no JSON.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ModelError(f"ranker input, row {row}: {column} is no JSON ({error}): {value[:80]!r}") from error


def parsed_mapping(row: int, column: str, value: Any) -> Any:
    """A mapping, from JSON where it is text and from pairs as Arrow hands maps over; empty where it is missing.

    What is neither comes back as it is.

    Raises:
        ModelError: When the text is no JSON.
    """
    if is_missing(value) or (isinstance(value, str) and not value.strip()):
        return {}
    told = parsed_json(row, column, value)
    is_list = isinstance(told, list | tuple | np.ndarray)
    if is_list and all(isinstance(pair, tuple) and len(pair) == 2 for pair in told):
        return dict(told)
    return {} if told is None else told


def epoch_seconds(row: int, column: str, value: Any) -> float:
    """Epoch seconds of a time, 0 for an unknown one; one without a zone is UTC.

    Raises:
        ModelError: When it is no time, or one before 1970; the message names row and column.
    """
    if is_missing(value):
        return 0.0
    try:
        if isinstance(value, bool):
            raise ValueError("a truth value is no time")
        is_number = isinstance(value, int | float | np.integer | np.floating)
        is_number = is_number or (isinstance(value, str) and value.strip().isdigit())
        number = float(value) if is_number else pd.to_datetime(value, utc=True).timestamp()
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"ranker input, row {row}: {column} must be epoch seconds, dates with a time or None, got {value!r:.80}"
        ) from error
    if not 0 <= number < _LATEST_SECONDS:
        raise ModelError(
            f"ranker input, row {row}: {column} must lie between 1970 and now, in seconds, got {value!r:.80}"
        )
    return number


def _control(row: int, value: Any) -> Control:
    subject = f"ranker input, row {row}: a control"
    if not isinstance(value, Mapping) or not isinstance(value.get("target"), str):
        raise ModelError(f"{subject} must be a mapping with action, target_kind and target, got {str(value)[:80]!r}")
    for name, allowed in _NEEDED.items():
        if value.get(name) not in allowed:
            raise ModelError(f"{subject} needs as {name} one of {', '.join(allowed)}, got {value.get(name)!r:.80}")
    if value["target_kind"] == "item" and value["action"] not in KEEP_OUT:
        raise ModelError(f"{subject} on an item must be {' or '.join(KEEP_OUT)}, got {value['action']!r}")
    strength = value.get("strength")
    if strength is not None and not (isinstance(strength, int | float) and math.isfinite(strength) and strength > 0):
        raise ModelError(f"{subject} needs a strength above 0 or none, got {strength!r:.80}")
    return {**{name: value[name] for name in (*_NEEDED, "target")}, "strength": strength}
