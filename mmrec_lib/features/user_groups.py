"""Attributes of users as groups, from Arrow maps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmrec_lib.models.attributes import group_value, most_common

_PAIRS = pa.list_(pa.struct([pa.field("key", pa.string()), pa.field("value", pa.string())]))


def user_groups(maps: pa.MapArray) -> dict[str, npt.NDArray[np.object_]]:
    """Groups of users by attribute, see `group_values`; each distinct value is looked at once, not each user's."""
    if isinstance(maps, pa.ChunkedArray):  # without any user
        maps = pa.array([], maps.type)
    rows = np.repeat(np.arange(len(maps)), pc.fill_null(maps.cast(_PAIRS).value_lengths(), 0).to_numpy())
    flat = maps.cast(_PAIRS).flatten()
    names, values = (flat.field(at).dictionary_encode() for at in (0, 1))
    is_there = values.is_valid().to_numpy(zero_copy_only=False)
    name_of = names.indices.to_numpy(zero_copy_only=False)
    value_of = pc.fill_null(values.indices, 0).to_numpy(zero_copy_only=False)
    counts = np.bincount(name_of[is_there], minlength=len(names.dictionary))
    known = {name: int(count) for name, count in zip(names.dictionary.to_pylist(), counts, strict=True) if count}
    groups = np.array([group_value(value) for value in values.dictionary.to_pylist()], dtype=np.object_)
    found = {}
    for name in most_common(known):
        own = is_there & (name_of == names.dictionary.to_pylist().index(name))
        found[name] = np.full(len(maps), None, dtype=np.object_)
        found[name][rows[own]] = groups[value_of[own]]
    return found
