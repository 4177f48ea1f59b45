"""Audiences: users with the same attributes, in levels from all users down, and what all users of one may get."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmrec_lib.errors import ConfigError
from mmrec_lib.listing.config import PopularLikeYouConfig
from mmrec_lib.showing.item_rules import NO_GROUP, ItemRules

ALL = "all"
"""Key of the audience of all users."""
DEFAULT_ATTRIBUTES = ("country", "gender", "age")
_BETWEEN = "/"


def audience_key(groups: Sequence[tuple[str, str]]) -> str:
    """Key of the audience of users with some attributes, the coarsest first.

    Example:
        >>> audience_key([("country", "gb"), ("age", "30")]), audience_key([])
        ('country=gb/age=30', 'all')
    """
    return _BETWEEN.join(f"{_escaped(name)}={_escaped(value)}" for name, value in groups) or ALL


def parent_of(key: str) -> str | None:
    """Key of the next larger audience; None for all users.

    Example:
        >>> parent_of("country=gb/age=30"), parent_of("country=gb"), parent_of("all")
        ('country=gb', 'all', None)
    """
    if key == ALL:
        return None
    above, _, _ = key.rpartition(_BETWEEN)
    return above or ALL


def audience_paths(groups: Mapping[str, NDArray[np.object_]], num_users: int) -> pa.ListArray:
    """Keys of the audiences that each user is in, from all users to the smallest; it ends before an unknown group.

    Args:
        groups: [n] group of each user, or None, by attribute; the coarsest attribute first.
        num_users: n.
    """
    columns = [pa.array(column, pa.string()).dictionary_encode() for column in groups.values()]
    values = [column.dictionary.to_pylist() for column in columns]
    codes = [column.indices.fill_null(-1).to_numpy(zero_copy_only=False) for column in columns]
    codes.insert(0, np.zeros(num_users, np.int32))
    occurring, of_user = np.unique(np.stack(codes, axis=1), axis=0, return_inverse=True)
    paths = []
    for _, *row in occurring.tolist():
        known_levels = row.index(-1) if -1 in row else len(row)
        named = [(name, values[level][row[level]]) for level, name in enumerate(groups)][:known_levels]
        paths.append([audience_key(named[:length]) for length in range(known_levels + 1)])
    return pa.array(paths, pa.list_(pa.string())).take(pa.array(of_user.ravel()))


def checked_attributes(config: PopularLikeYouConfig, groups: Mapping[str, int]) -> tuple[str, ...]:
    """Attributes that make audiences.

    Args:
        config: Names them, or leaves the choice.
        groups: Number of groups of each attribute that was asked for; 0 for one that no user has.

    Raises:
        ConfigError: When no user has a named attribute, or there would be too many audiences.
    """
    asked = config.attributes or DEFAULT_ATTRIBUTES
    found = tuple(name for name in asked if groups[name])
    missing = sorted(set(asked) - set(found))
    if config.attributes is not None and missing:
        raise ConfigError(
            f"lists.popular_like_you.attributes: attributes that users have are needed, but no user has `{missing[0]}`."
        )
    num_audiences = sum(math.prod(groups[name] for name in found[:length]) for length in range(len(found) + 1))
    if num_audiences > config.max_audiences:
        told = ", ".join(f"{groups[name]} of {name}" for name in found)
        raise ConfigError(
            f"lists.popular_like_you: at most {config.max_audiences} audiences are allowed (max_audiences), but the "
            f"groups of users ({told}) make {num_audiences}. Name fewer or coarser attributes."
        )
    return found


@dataclass(frozen=True)
class AudienceItems:
    """Items and what the users of audiences may get.

    Attributes:
        rules: Rules of the day.
        groups: Groups of users (rows of `rules.allowed`, or -1) that occur in an audience, by its key.
    """

    rules: ItemRules
    groups: Mapping[str, Sequence[int]]

    def allowed(self, audience: str) -> NDArray[np.bool_]:
        """[I] True for items that every user of an audience may get, and so its list may show."""
        found = self.rules.is_listed.copy()
        for group in self.groups.get(audience, ()):
            if group != NO_GROUP:
                assert self.rules.allowed is not None
                found &= self.rules.allowed[group]
        return found


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace(_BETWEEN, "%2F")
