"""Groups of users by attribute, over which demographic ratios are counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

MAX_NAMES = 64
"""Attributes of users that a snapshot holds, at most: each is a column over all users."""


def group_value(raw: str | None) -> str | None:
    """The group that an attribute's value belongs to.

    Numbers are rounded to one significant digit (24 → 20, 1234 → 1000), so that a group needs no fit and a new user
    falls into the same one; everything else is taken as it is, in lower case.
    """
    if raw is None or not raw.strip():
        return None
    try:
        number = float(raw)
    except ValueError:
        return raw.strip().lower()
    if not math.isfinite(number) or number == 0:
        return raw.strip().lower()
    return f"{float(f'{number:.0e}'):g}"


def common_names(attributes: Sequence[Mapping[str, str | None]], limit: int = MAX_NAMES) -> list[str]:
    """Names of the attributes that most users have, at most `limit`, sorted; names are data and may be thousands."""
    counts = Counter(name for row in attributes for name, value in row.items() if value is not None)
    return most_common(counts, limit)


def most_common(counts: Mapping[str, int], limit: int = MAX_NAMES) -> list[str]:
    """The names that are counted most, at most `limit`, sorted."""
    return sorted(sorted(counts, key=lambda name: (-counts[name], name))[:limit])


def group_values(
    attributes: Sequence[Mapping[str, str | None]], names: Sequence[str] | None = None
) -> dict[str, npt.NDArray[np.object_]]:
    """Groups of many users.

    Args:
        attributes: One mapping a user.
        names: Attributes to look at; None takes the most common ones.

    Returns:
        For each attribute [num_users] group names, None where unknown.
    """
    wanted = common_names(attributes) if names is None else names
    groups = {}
    for name in wanted:
        column = np.empty(len(attributes), dtype=np.object_)
        column[:] = [group_value(row.get(name)) for row in attributes]
        groups[name] = column
    return groups
