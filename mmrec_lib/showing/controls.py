"""Controls that users set themselves: items, brands and categories they want less of, more of, or none of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from mmrec_lib.errors import ShowingError
from mmrec_lib.showing.attributes import one_array, rows_and_entries
from mmrec_lib.showing.labels import Labels, positions

ACTIONS = ("block", "mute", "less", "boost")
KEEP_OUT = ("block", "mute")
TARGET_KINDS = ("item", "category", "brand")
CONTROLS_TYPE = pa.list_(
    pa.struct(
        [
            ("action", pa.string()),
            ("target_kind", pa.string()),
            ("target", pa.string()),
            ("strength", pa.float64()),
        ]
    )
)
"""Controls of one user as of_users reads them: a row of the table user_control without its key."""

SoftTargets = Mapping[str, Sequence[str]]
"""Categories and brands that some user boosts or lessens: kind → names. Empty where users only keep items out."""


@dataclass(frozen=True)
class ControlIndex:
    """The catalogue as users' controls see it.

    Attributes:
        labels: Labels of the items by kind: category, brand.
        dimensions: Name → dimension of boosts, by kind, for categories and brands that users boost or lessen.
        default_strength: What `boost` and `less` add and take where a control has no strength.
    """

    labels: Mapping[str, Labels]
    dimensions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    default_strength: float = 1.0


@dataclass(frozen=True)
class FlatControls:
    """Controls of n users, one row a control.

    Attributes:
        users: [c] position of the user.
        actions: [c] one of ACTIONS.
        kinds: [c] one of TARGET_KINDS.
        targets: [c] item id or name.
        strengths: [c] float64, NaN where the default counts.
    """

    users: npt.NDArray[np.int64]
    actions: pa.Array
    kinds: pa.Array
    targets: pa.Array
    strengths: npt.NDArray[np.float64]

    @classmethod
    def of(cls, controls: pa.Array) -> FlatControls:
        """The controls of a list array; see CONTROLS_TYPE."""
        users, entries = rows_and_entries(controls)
        structs = controls.values.take(entries)
        columns = {name: structs.field(name) for name in ("action", "target_kind", "target")}
        strengths = structs.field("strength").cast(pa.float64()).to_numpy(zero_copy_only=False)
        return cls(users, columns["action"], columns["target_kind"], columns["target"], np.asarray(strengths))

    def __len__(self) -> int:
        return len(self.users)

    def are(self, kind: str, actions: Sequence[str]) -> npt.NDArray[np.bool_]:
        """[c] True for controls on one kind of target with one of some actions."""
        of_action = pc.is_in(self.actions, value_set=pa.array(actions, pa.string()))
        return np.asarray(pc.and_(of_action, pc.equal(self.kinds, kind)).to_numpy(zero_copy_only=False))


def blocked_items(
    controls: FlatControls, index: ControlIndex, item_ids: pa.Array, num_users: int
) -> sparse.csr_matrix | None:
    """[n, I] entries for items that users keep out of their lists; None without one.

    Targets that the catalogue does not have are passed over: the item may be gone.
    """
    parts = []
    chosen = controls.are("item", KEEP_OUT)
    if chosen.any():
        parts.append(_targets(controls, chosen, positions(controls.targets, item_ids), (num_users, len(item_ids))))
    for kind, labels in index.labels.items():
        chosen = controls.are(kind, KEEP_OUT)
        if chosen.any():
            shape = (num_users, len(labels.names))
            parts.append(_targets(controls, chosen, labels.codes(controls.targets), shape) @ labels.items)
    if not parts:
        return None
    total = sparse.csr_matrix(sum(parts[1:], start=parts[0]))
    total.sum_duplicates()
    total.sort_indices()
    total.data = np.ones(total.nnz, dtype=np.float32)
    return total


def user_blocks(
    controls: pa.Array | pa.ChunkedArray | None, index: ControlIndex | None, num_users: int, max_entries: int
) -> list[tuple[int, int]]:
    """Cut users into runs whose blocked items stay within a bound: a muted category may be thousands of items a user.

    Args:
        controls: [n] controls of the users, see CONTROLS_TYPE; None where they have none.
        index: The catalogue as controls see it.
        num_users: Number of users, n.
        max_entries: Most entries of `blocked_items` in one run; a single user may have more.

    Returns:
        First user and end of each run.
    """
    if controls is None or index is None or not num_users:
        return [(0, num_users)] if num_users else []
    flat = FlatControls.of(one_array(controls))
    sizes = flat.are("item", KEEP_OUT).astype(np.int64)
    for kind, labels in index.labels.items():
        codes = labels.codes(flat.targets)
        there = flat.are(kind, KEEP_OUT) & (codes >= 0)
        sizes[there] = np.diff(labels.items.indptr)[codes[there]]
    total = np.cumsum(np.bincount(flat.users, weights=sizes, minlength=num_users))
    blocks, start = [], 0
    while start < num_users:
        before = total[start - 1] if start else 0.0
        end = max(start + 1, int(np.searchsorted(total, before + max_entries, side="right")))
        blocks.append((start, end))
        start = end
    return blocks


def _targets(
    controls: FlatControls, chosen: npt.NDArray[np.bool_], columns: npt.NDArray[np.int64], shape: tuple[int, int]
) -> sparse.csr_matrix:
    there = chosen & (columns >= 0)
    ones = np.ones(int(there.sum()), dtype=np.float32)
    return sparse.csr_matrix((ones, (controls.users[there], columns[there])), shape=shape)


def add_soft_controls(controls: FlatControls, index: ControlIndex, boosts: npt.NDArray[np.float32]) -> None:
    """Add what users boost and lessen to their factors of the boosts' dimensions.

    Args:
        controls: The controls.
        index: Which dimension a category or brand has.
        boosts: [n, D] changed in place.

    Raises:
        ShowingError: When a category or brand of the catalogue is boosted or lessened, but was not among the targets
            that the rules were built with.
    """
    amounts = np.where(np.isnan(controls.strengths), index.default_strength, controls.strengths)
    for action, sign in (("boost", 1.0), ("less", -1.0)):
        for kind, labels in index.labels.items():
            chosen = controls.are(kind, (action,))
            if not chosen.any():
                continue
            dimensions = index.dimensions.get(kind, {})
            at = positions(controls.targets, pa.array(list(dimensions), pa.string()))
            lost = chosen & (at < 0) & (labels.codes(controls.targets) >= 0)
            if lost.any():
                name = controls.targets[int(np.flatnonzero(lost)[0])].as_py()
                raise ShowingError(
                    f"controls: the rules were built without the {kind} {name!r}, which a user boosts or lessens. "
                    "Build them with the targets of all controls."
                )
            there = chosen & (at >= 0)
            columns = np.array(list(dimensions.values()), dtype=np.int64)[at[there]]
            np.add.at(boosts, (controls.users[there], columns), (sign * amounts[there]).astype(np.float32))


def soft_scores(controls: FlatControls, index: ControlIndex, num_users: int) -> sparse.csr_matrix | None:
    """[n, I] what users add to scores of items by boosting and lessening categories and brands; None where nobody does.

    The same amounts as `add_soft_controls` times the boosts of items, whatever targets the rules were built with.
    """
    is_less = pc.equal(controls.actions, "less").to_numpy(zero_copy_only=False)
    amounts = np.where(np.isnan(controls.strengths), index.default_strength, controls.strengths)
    parts = []
    for kind, labels in index.labels.items():
        soft = controls.are(kind, ("boost", "less"))
        if soft.any():
            codes = labels.codes(controls.targets)
            there = soft & (codes >= 0)
            signed = np.where(is_less, -amounts, amounts)[there].astype(np.float32)
            entries = (signed, (controls.users[there], codes[there]))
            parts.append(sparse.csr_matrix(entries, shape=(num_users, len(labels.names))) @ labels.items)
    return sparse.csr_matrix(sum(parts[1:], parts[0])) if parts else None
