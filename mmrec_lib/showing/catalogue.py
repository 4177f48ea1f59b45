"""The catalogue as rules see it: selections of items, and errors for names that no item has."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmrec_lib.errors import ShowingError
from mmrec_lib.showing.attributes import Attributes, meets, numbers, one_array
from mmrec_lib.showing.config import Condition, Rule
from mmrec_lib.showing.labels import Labels, positions

Flags = npt.NDArray[np.bool_]
REQUIRED = ("item_id", "available")


class RuleItems:
    """The items of a run; a column is looked at when the first rule asks for it.

    Args:
        items: item_id and available; categories, price, markets, attributes and brand where rules need them.
        brand_attribute: Attribute that names the brand, where there is no column brand.

    Raises:
        ShowingError: When `item_id` or `available` is missing, or an id stands twice.
    """

    def __init__(self, items: pa.Table, brand_attribute: str) -> None:
        self._items = items
        self._brand_attribute = brand_attribute
        for name in REQUIRED:
            self._column(name)
        self.item_ids: pa.Array = one_array(items["item_id"]).cast(pa.string())
        self.is_available: Flags = np.asarray(
            one_array(items["available"]).to_numpy(zero_copy_only=False), dtype=np.bool_
        )
        if len(self.item_ids.unique()) != len(self.item_ids):
            raise ShowingError("items: each item_id once is needed, but one stands twice")

    def __len__(self) -> int:
        return len(self.item_ids)

    def _column(self, name: str) -> pa.ChunkedArray:
        if name not in self._items.column_names:
            raise ShowingError(
                f"items: the column `{name}` is needed by the rules, there are {', '.join(self._items.column_names)}."
            )
        return self._items[name]

    @cached_property
    def categories(self) -> Labels:
        """Categories of the items."""
        return Labels.of_lists(self._column("categories"))

    @cached_property
    def brands(self) -> Labels:
        """Brands of the items: their column brand, else the attribute."""
        if "brand" in self._items.column_names:
            return Labels.of_texts(self._items["brand"])
        return Labels.of_texts(self.attributes.values(self._brand_attribute))

    @cached_property
    def attributes(self) -> Attributes:
        """Attributes of the items."""
        return Attributes(self._column("attributes"))

    @cached_property
    def price(self) -> npt.NDArray[np.float64]:
        """[I] NaN where an item has none."""
        return np.asarray(
            one_array(self._column("price")).cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64
        )

    @cached_property
    def markets(self) -> Labels:
        """Markets of the items that name some."""
        return Labels.of_lists(self._column("markets"))

    @cached_property
    def is_sold_everywhere(self) -> Flags:
        """[I] True for items that name no markets: null, not an empty list."""
        return ~np.asarray(one_array(self._column("markets")).is_valid().to_numpy(zero_copy_only=False))

    def least_ages(self, attribute: str, named: dict[str, float]) -> npt.NDArray[np.float64]:
        """[I] least age of who may see an item: 0 without a rating, infinite where it cannot be read.

        Raises:
            ShowingError: When no item has the attribute.
        """
        self._require_attribute(attribute, "showing.age_rating_attribute")
        texts = self.attributes.values(attribute)
        ages = numbers(texts)
        for name, age in named.items():
            is_so_rated = pc.fill_null(pc.equal(texts, name), False).to_numpy(zero_copy_only=False)
            ages[is_so_rated] = age
        is_rated = np.asarray(texts.is_valid().to_numpy(zero_copy_only=False), dtype=np.bool_)
        ages[is_rated & ~(ages >= 0)] = np.inf
        ages[~is_rated] = 0.0
        return ages

    def select(self, rule: Rule) -> Flags:
        """[I] True for the items that a rule is about.

        Raises:
            ShowingError: When it names items, categories, brands or attributes that the catalogue does not have.
        """
        chosen, subject = rule.items, f"rule `{rule.name}`"
        found = np.ones(len(self), dtype=np.bool_)
        if chosen.item_ids is not None:
            _require_known(subject, "item", chosen.item_ids, self.item_ids)
            of_ids = np.zeros(len(self), dtype=np.bool_)
            of_ids[positions(pa.array(chosen.item_ids, pa.string()), self.item_ids)] = True
            found &= of_ids
        if chosen.categories is not None:
            _require_known(subject, "category", chosen.categories, self.categories.names)
            found &= self.categories.items_of(chosen.categories)
        if chosen.brands is not None:
            _require_known(subject, "brand", chosen.brands, self.brands.names)
            found &= self.brands.items_of(chosen.brands)
        if chosen.price_at_least is not None:
            found &= self.price >= chosen.price_at_least
        if chosen.price_below is not None:
            found &= self.price < chosen.price_below
        for condition in chosen.attributes:
            self._require_attribute(condition.attribute, subject)
            values = self.attributes.values(condition.attribute)
            require_numbers(subject, condition, values)
            found &= meets(condition, values)
        return found

    def _require_attribute(self, name: str, subject: str) -> None:
        known = self.attributes.names
        if name not in known:
            raise ShowingError(
                f"{subject}: an attribute of items is needed, but no item has `{name}`{_nearest(name, known)}"
            )


def require_numbers(subject: str, condition: Condition, values: pa.Array) -> None:
    """Refuse a comparison of an attribute that never is a number, although it is there.

    Raises:
        ShowingError: When no value can be compared.
    """
    if condition.at_least is None and condition.below is None:
        return
    present = values.drop_null()
    if len(present) and not np.isfinite(numbers(present)).any():
        raise ShowingError(
            f"{subject}: numbers are needed to compare the attribute `{condition.attribute}`, got texts such as "
            f"{present[0].as_py()!r}."
        )


def _require_known(subject: str, kind: str, wanted: Sequence[str], known: pa.Array) -> None:
    texts = pa.array(wanted, pa.string())
    unknown = [name for name, place in zip(wanted, positions(texts, known), strict=True) if place < 0]
    if unknown:
        hint = _nearest(unknown[0], known.to_pylist() if kind != "item" else [])
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise ShowingError(f"{subject}: the catalogue has no {kind} {unknown[0]!r}{more}{hint}")


def _nearest(name: str, known: Sequence[str]) -> str:
    """End of a sentence about an unknown name: the nearest known one, or the known ones."""
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f" (there are {', '.join(known[:10])}{', …' if len(known) > 10 else ''})." if known else "."
