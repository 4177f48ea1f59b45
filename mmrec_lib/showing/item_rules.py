"""The rules of a run against its catalogue: made once, kept in a folder, read by every worker."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import sparse

from mmrec_lib.errors import ShowingError
from mmrec_lib.showing.attributes import Attributes, one_array
from mmrec_lib.showing.config import Condition
from mmrec_lib.showing.controls import ControlIndex, FlatControls, add_soft_controls, blocked_items
from mmrec_lib.showing.labels import Labels, positions
from mmrec_lib.showing.user_tests import UserTests

Flags = npt.NDArray[np.bool_]
NO_GROUP = -1
# One byte an item each.
_REMEMBERED_STATES = 64

_ARRAYS, _ABOUT, _NAMES = "showing.npz", "showing.json", "names-{}.arrow"


@dataclass(frozen=True)
class Exclusion:
    """Items that a rule keeps out.

    Attributes:
        rule: Name of the rule.
        segment: Segment of users it holds for; None is everybody.
        items: [m] positions of the items, ascending.
        follows_data: True where the rule looks at prices or attributes, such as stock: its items change by themselves.
    """

    rule: str
    segment: str | None
    items: npt.NDArray[np.int64]
    follows_data: bool = False


@dataclass(frozen=True)
class Pin:
    """One item at one place.

    Attributes:
        rule: Name of the rule.
        segment: Segment of users it holds for; None is everybody.
        position: Place in the list, from 1.
        item: Position of the item in the catalogue.
    """

    rule: str
    segment: str | None
    position: int
    item: int


@dataclass(frozen=True)
class UserLimits:
    """Limits of n users.

    Attributes:
        group_of_user: [n] int32 row of `ItemRules.allowed`, or -1 for users without limits.
        blocked: [n, I] entries for items that a user keeps out of the own list; None where nobody does.
        user_boosts: [n, D] float32 factors of `ItemRules.item_boosts`.
        in_segment: [n] by name of each segment with pins, True for its users.
    """

    group_of_user: npt.NDArray[np.int32]
    blocked: sparse.csr_matrix | None
    user_boosts: npt.NDArray[np.float32]
    in_segment: Mapping[str, Flags]

    def __len__(self) -> int:
        return len(self.group_of_user)


@dataclass(frozen=True)
class ItemRules:
    """Rules of what may be shown to whom; make it with `build_rules`.

    Attributes:
        item_ids: [I] ids in the order of the catalogue.
        is_available: [I] the items' own flag.
        is_listed: [I] False for items that nobody must get: not available, or excluded for everybody.
        allowed: [G, I] True for items that users of a group may get; None without groups.
        item_boosts: [I, D] float32 what one unit of each dimension adds to a score; D may be 0.
        pins: Items at fixed places.
        exclusions: What each rule keeps out.
        tests: What is asked of users.
        state_codes: [S] codes of the states of users that occur, ascending; see `UserTests.codes`.
        state_groups: [S] group of each.
        boosted: Segment of each of the first dimensions of boosts; None is everybody. The others are of controls.
        controls: The catalogue as controls see it; None where there are no controls.
        market_items: Items by market; None without markets.
        is_sold_everywhere: [I] items without markets of their own; None without markets.
        least_age: [I] least age of who may see an item; None without age limits.
    """

    item_ids: pa.Array
    is_available: Flags
    is_listed: Flags
    allowed: Flags | None
    item_boosts: npt.NDArray[np.float32]
    pins: tuple[Pin, ...]
    exclusions: tuple[Exclusion, ...]
    tests: UserTests
    state_codes: npt.NDArray[np.int64]
    state_groups: npt.NDArray[np.int32]
    boosted: tuple[str | None, ...]
    controls: ControlIndex | None
    market_items: Labels | None
    is_sold_everywhere: Flags | None
    least_age: npt.NDArray[np.float64] | None

    @property
    def num_items(self) -> int:
        """Number of items, I."""
        return len(self.is_listed)

    def of_users(
        self, attributes: pa.Array | pa.ChunkedArray, controls: pa.Array | pa.ChunkedArray | None = None
    ) -> UserLimits:
        """Limits of many users.

        Args:
            attributes: [n] map<string, string> attributes of the users; null is none.
            controls: [n] their controls, see `controls.CONTROLS_TYPE`; null is none.

        Raises:
            ShowingError: When the rules were built for other attributes or controls.
        """
        users = Attributes(attributes)
        boosts = np.zeros((len(users), self.item_boosts.shape[1]), dtype=np.float32)
        for dimension, segment in enumerate(self.boosted):
            boosts[:, dimension] = 1.0 if segment is None else self.tests.in_segment(segment, users)
        blocked = None
        flat = None if controls is None else FlatControls.of(one_array(controls))
        if flat is not None and len(flat):
            index = self.require_controls()
            blocked = blocked_items(flat, index, self.item_ids, len(users))
            add_soft_controls(flat, index, boosts)
        pinned = {pin.segment for pin in self.pins if pin.segment is not None}
        in_segment = {name: self.tests.in_segment(name, users) for name in sorted(pinned)}
        return UserLimits(self._groups(users), blocked, boosts, in_segment)

    def require_controls(self) -> ControlIndex:
        """The catalogue as controls see it.

        Raises:
            ShowingError: When the rules were built without.
        """
        if self.controls is None:
            raise ShowingError("controls: users have some, but the rules were built without. Build them with.")
        return self.controls

    def regrouped(self, attributes: pa.Array | pa.ChunkedArray) -> ItemRules:
        """The same rules with the groups of these users alone, whatever their attributes are.

        `build_rules` knows the values that occur among all users; a served model meets users with others.

        Args:
            attributes: [n] map<string, string> attributes of the users; null is none.
        """
        if not self.tests.has_groups:
            return self
        states = np.unique(self.tests.states(Attributes(attributes)), axis=0)
        found = [self._allowed_in(tuple(state)) for state in states.tolist()]
        codes = self.tests.codes(states)
        order = np.argsort(codes)
        groups = np.arange(len(states), dtype=np.int32)
        return replace(self, allowed=np.stack(found), state_codes=codes[order], state_groups=groups[order])

    @cached_property
    def _allowed_in(self) -> Callable[[tuple[int, ...]], Flags]:
        """[I] items that users of a state may get; remembered, because a server meets the same few again and again."""
        facts = (
            self.tests,
            self.exclusions,
            self.market_items,
            self.is_sold_everywhere,
            self.least_age,
            self.is_listed,
        )
        return lru_cache(maxsize=_REMEMBERED_STATES)(lambda state: allowed_items(state, *facts))

    def of_items(self, item_ids: pa.Array) -> ItemRules:
        """The same rules in the order of another catalogue; items that they do not know are not listed.

        Args:
            item_ids: [J] ids; items of the rules that are not among them are left out.
        """
        at = positions(item_ids, self.item_ids)
        known, place = at >= 0, np.full(self.num_items, -1, dtype=np.int64)
        place[at[known]] = np.flatnonzero(known)

        def of(array: npt.NDArray[Any] | None) -> Any:
            """Values [..., I] as [..., J], 0 where unknown."""
            if array is None:
                return None
            taken = np.zeros((*array.shape[:-1], len(at)), dtype=array.dtype)
            taken[..., known] = array[..., at[known]]
            return taken

        def labels(label: Labels) -> Labels:
            columns = place[label.items.indices]
            rows = np.repeat(np.arange(len(label.names)), np.diff(label.items.indptr))[columns >= 0]
            ones = np.ones(len(rows), dtype=np.uint8)
            shape = (len(label.names), len(at))
            return Labels(label.names, sparse.csr_matrix((ones, (rows, columns[columns >= 0])), shape=shape))

        index = self.controls
        return replace(
            self,
            item_ids=item_ids,
            is_available=of(self.is_available),
            is_listed=of(self.is_listed),
            allowed=of(self.allowed),
            item_boosts=np.ascontiguousarray(of(self.item_boosts.T).T),
            pins=tuple(replace(pin, item=int(place[pin.item])) for pin in self.pins if place[pin.item] >= 0),
            exclusions=tuple(
                replace(exclusion, items=np.sort(places[places >= 0]))
                for exclusion, places in ((exclusion, place[exclusion.items]) for exclusion in self.exclusions)
            ),
            controls=None
            if index is None
            else replace(index, labels={kind: labels(label) for kind, label in index.labels.items()}),
            market_items=None if self.market_items is None else labels(self.market_items),
            is_sold_everywhere=of(self.is_sold_everywhere),
            least_age=of(self.least_age),
        )

    def _groups(self, users: Attributes) -> npt.NDArray[np.int32]:
        if not self.tests.has_groups:
            return np.full(len(users), NO_GROUP, dtype=np.int32)
        codes = self.tests.codes(self.tests.states(users))
        at = np.minimum(np.searchsorted(self.state_codes, codes), len(self.state_codes) - 1)
        unknown = self.state_codes[at] != codes
        if unknown.any():
            raise ShowingError(
                f"users: {int(unknown.sum())} have attributes ({', '.join(self.tests.attributes)}) that were not among "
                "the values that the rules were built with. Build them with the values of all users."
            )
        return self.state_groups[at]

    def for_users(self) -> ItemRules:
        """The rules without their items: what is needed to tell the groups of users, small enough to be sent about."""
        no_flags = np.zeros(0, dtype=np.bool_)
        return replace(
            self,
            item_ids=self.item_ids[:0],
            is_available=no_flags,
            is_listed=no_flags,
            allowed=None,
            item_boosts=np.zeros((0, 0), dtype=np.float32),
            pins=(),
            exclusions=(),
            boosted=(),
            controls=None,
            market_items=None,
            is_sold_everywhere=None,
            least_age=None,
        )

    def save(self, folder: Path) -> None:
        """Write the rules to a folder, which is made where it is missing; without pickles."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {
            "is_available": self.is_available,
            "is_listed": self.is_listed,
            "item_boosts": self.item_boosts,
            "state_codes": self.state_codes,
            "state_groups": self.state_groups,
        }
        optional = {"allowed": self.allowed, "everywhere": self.is_sold_everywhere, "least_age": self.least_age}
        arrays |= {name: array for name, array in optional.items() if array is not None}
        arrays |= {f"exclusion-{number}": e.items for number, e in enumerate(self.exclusions)}
        names = {"items": self.item_ids}
        labels = dict(self.controls.labels) if self.controls is not None else {}
        if self.market_items is not None:
            labels["market"] = self.market_items
        for kind, label in labels.items():
            names[kind] = label.names
            arrays |= {f"{kind}-indices": label.items.indices, f"{kind}-indptr": label.items.indptr}
        np.savez(folder / _ARRAYS, **arrays)
        for name, array in names.items():
            with pa.OSFile(str(folder / _NAMES.format(name)), "wb") as sink:
                batch = pa.record_batch([array], names=["name"])
                with pa.ipc.new_file(sink, batch.schema) as writer:
                    writer.write_batch(batch)
        tests = asdict(self.tests)
        tests["segments"] = {
            name: [condition.model_dump() for condition in conditions]
            for name, conditions in self.tests.segments.items()
        }
        about = {
            "tests": tests,
            "pins": [asdict(pin) for pin in self.pins],
            "exclusions": [[e.rule, e.segment, e.follows_data] for e in self.exclusions],
            "boosted": self.boosted,
            "controls": None
            if self.controls is None
            else {"dimensions": self.controls.dimensions, "default_strength": self.controls.default_strength},
            "labels": sorted(labels),
        }
        (folder / _ABOUT).write_text(json.dumps(about), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> ItemRules:
        """Read the rules of a folder.

        Raises:
            ShowingError: When there are none.
        """
        if not (folder / _ABOUT).is_file():
            raise ShowingError(f"rules {folder}: there is no {_ABOUT}. The scoring job writes it.")
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        with np.load(folder / _ARRAYS, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        item_ids = _read_names(folder, "items")
        labels = {kind: _read_labels(folder, kind, arrays, len(item_ids)) for kind in about["labels"]}
        market_items = labels.pop("market", None)
        told = about["controls"]
        tests = about["tests"]
        segments = {
            name: tuple(Condition.model_validate(condition) for condition in conditions)
            for name, conditions in tests.pop("segments").items()
        }
        lists = ("markets", "age_limits", "excluding")
        tests |= {name: tuple(tests[name]) for name in lists}
        return cls(
            item_ids=item_ids,
            is_available=arrays["is_available"],
            is_listed=arrays["is_listed"],
            allowed=arrays.get("allowed"),
            item_boosts=arrays["item_boosts"],
            pins=tuple(Pin(**pin) for pin in about["pins"]),
            exclusions=tuple(
                Exclusion(rule, segment, arrays[f"exclusion-{number}"], follows_data)
                for number, (rule, segment, follows_data) in enumerate(about["exclusions"])
            ),
            tests=UserTests(segments=segments, **tests),
            state_codes=arrays["state_codes"],
            state_groups=arrays["state_groups"],
            boosted=tuple(about["boosted"]),
            controls=None if told is None else ControlIndex(labels=labels, **told),
            market_items=market_items,
            is_sold_everywhere=arrays.get("everywhere"),
            least_age=arrays.get("least_age"),
        )


def allowed_items(
    state: Sequence[int],
    tests: UserTests,
    exclusions: Sequence[Exclusion],
    market_items: Labels | None,
    everywhere: Flags | None,
    least_age: npt.NDArray[np.float64] | None,
    is_listed: Flags,
) -> Flags:
    """[I] items that users of one state may get; see `UserTests.states` and the attributes of `ItemRules`."""
    market, age, *segments = state
    row = is_listed.copy()
    if market_items is not None and everywhere is not None:
        sold = everywhere.copy()
        if market < len(tests.markets):
            sold[market_items.items[market].indices] = True
        row &= sold
    if least_age is not None:
        row &= least_age <= (0.0, *tests.age_limits)[age]
    inside = {name for name, is_in in zip(tests.excluding, segments, strict=True) if is_in}
    for exclusion in exclusions:
        if exclusion.segment in inside:
            row[exclusion.items] = False
    return row


def _read_names(folder: Path, name: str) -> pa.Array:
    with pa.ipc.open_file(pa.BufferReader((folder / _NAMES.format(name)).read_bytes())) as reader:
        return one_array(reader.read_all()["name"])


def _read_labels(folder: Path, kind: str, arrays: Mapping[str, Any], num_items: int) -> Labels:
    names, indices = _read_names(folder, kind), arrays[f"{kind}-indices"]
    ones = np.ones(len(indices), dtype=np.uint8)
    return Labels(names, sparse.csr_matrix((ones, indices, arrays[f"{kind}-indptr"]), shape=(len(names), num_items)))
