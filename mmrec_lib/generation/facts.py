"""Facts of an item, of a user, and of both together: all that a text may tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import permutations

from mmrec_lib.generation.names import NameRules, name_key
from mmrec_lib.generation.templates import LANGUAGES, FactKind
from mmrec_lib.tastes.sentences import safe_name

# With a shorter history nothing is said of what somebody often does; as in `tastes.sentences`.
_FEW = 3


@dataclass(frozen=True)
class Fact:
    """One fact as texts tell it.

    Attributes:
        kind: Kind of it.
        values: By slot the name or number as it stands in a text.
        about: Key of the vector of what it is about: an item's id or a name; None for numbers.
        is_item: True where `about` is an item's id.
    """

    kind: FactKind
    values: Mapping[str, str]
    about: str | None = None
    is_item: bool = False


@dataclass(frozen=True)
class ItemFacts:
    """Facts of an item, as the tables have them.

    Attributes:
        item_id: Id.
        title: Title.
        categories: Categories.
        brand: Value of the brand attribute.
        price: Price in the store's currency.
        aspects: Aspects that reviews praise, with the number of these, most praised first.
        rating: Mean rating of its reviews, where that is at least the store's mean.
        num_ratings: Number of these.
        labels: Labels of its images.
        words: Words found in its images.
        is_brand_silent: True where an item of a silent category has the same brand.
    """

    item_id: str
    title: str | None = None
    categories: Sequence[str] = ()
    brand: str | None = None
    price: float | None = None
    aspects: Sequence[tuple[str, int]] = ()
    rating: float | None = None
    num_ratings: int = 0
    labels: str | None = None
    words: str | None = None
    is_brand_silent: bool = False


@dataclass(frozen=True)
class UserFacts:
    """Facts of a user, as the table user_profile has them.

    Attributes:
        num_items: Items in the history.
        categories: Categories with their shares of it, the largest in front.
        brands: Likewise.
        prices: Lower and upper quartile of the prices.
        segment: Name of the user's segment.
    """

    num_items: int = 0
    categories: Sequence[tuple[str, float]] = ()
    brands: Sequence[tuple[str, float]] = ()
    prices: tuple[float, float] | None = None
    segment: str | None = None


@dataclass(frozen=True)
class SharedPath:
    """The fact that an item shares with one of the history, see user_topk.path.

    Attributes:
        item: The item of the history.
        node: Name of what both have.
    """

    item: ItemFacts
    node: str


@dataclass(frozen=True)
class FactRules:
    """Bounds of facts.

    Attributes:
        names: Bounds of names.
        min_reviews: Reviews from which on praise or a mean rating is a fact.
        min_share: Share of the history from which on a category or brand is often chosen.
        silent_categories: Categories that nobody is told to have chosen, in any case.
    """

    names: NameRules = field(default_factory=NameRules)
    min_reviews: int = 3
    min_share: float = 0.2
    silent_categories: frozenset[str] = frozenset()

    def is_silent(self, item: ItemFacts) -> bool:
        """Tell if nobody must be told to have turned to an item."""
        return any(map(self.is_silent_name, item.categories))

    def is_silent_name(self, name: str) -> bool:
        """Tell if a name is that of a silent category."""
        return name_key(name) in self._silent_keys

    @cached_property
    def _silent_keys(self) -> frozenset[str]:
        return frozenset(map(name_key, self.silent_categories))


def pair_facts(
    user: UserFacts,
    item: ItemFacts,
    because: Sequence[ItemFacts],
    path: SharedPath | None,
    language: str,
    rules: FactRules,
) -> list[Fact]:
    """Facts of a user and an item, in the order of their kinds.

    A fact whose name cannot stand in a text, or which would tell of a silent category, is left out.

    Args:
        user: The user.
        item: The recommended item.
        because: Items of the history that pull it up, the strongest first.
        path: The fact that it shares with an item of the history.
        language: Language of the text, for numbers.
        rules: Bounds.
    """
    names, found = rules.names, list[Fact]()
    if path is not None and not rules.is_silent(path.item) and not _is_silent_node(path, rules):
        title, node = names.clean(path.item.title), names.clean(path.node)
        if title and node:
            found.append(Fact(FactKind.PATH, {"title": title, "node": node}, path.node))
    pulling = next((one for one in because if not rules.is_silent(one) and names.clean(one.title)), None)
    if pulling is not None:
        title = names.clean(pulling.title) or ""
        found.append(Fact(FactKind.HISTORY, {"title": title}, pulling.item_id, is_item=True))
    if user.num_items >= _FEW:
        found += _habits(user, item, rules)
    found += _of_price(user, item, language)
    for aspect, num in item.aspects:
        word = names.clean(aspect)
        if word and num >= rules.min_reviews:
            found.append(Fact(FactKind.ASPECT, {"num": str(num), "aspect": word}, aspect))
    if item.rating is not None and item.num_ratings >= rules.min_reviews:
        values = {"rating": number(item.rating, language, 1), "num": str(item.num_ratings)}
        found.append(Fact(FactKind.RATING, values))
    if not any(fact.kind is FactKind.CATEGORY for fact in found):
        found += _category_of(item, rules)
    return found


def description_facts(item: ItemFacts, rules: FactRules) -> list[Fact]:
    """Facts of an item without regard to anybody: category, brand, and what its images show."""
    names = rules.names
    found = _category_of(item, rules)
    for kind, slot, name in (
        (FactKind.ITEM_BRAND, "brand", item.brand),
        (FactKind.SHOWN, "labels", item.labels),
        (FactKind.WRITTEN_ON, "words", item.words),
    ):
        told = names.clean(name)
        if told:
            found.append(Fact(kind, {slot: told}, name))
    return found


def number(value: float, language: str, decimals: int = 2) -> str:
    """A number as a language writes it; a price of whole units has no decimals."""
    told = f"{value:.0f}" if decimals == 2 and value == round(value) else f"{value:.{decimals}f}"
    return told.replace(".", LANGUAGES[language].decimal)


def _habits(user: UserFacts, item: ItemFacts, rules: FactRules) -> list[Fact]:
    found = list[Fact]()
    often = {name for name, share in user.brands if share >= rules.min_share}
    brand = rules.names.clean(item.brand)
    if brand and item.brand in often and not item.is_brand_silent and not rules.is_silent(item):
        found.append(Fact(FactKind.BRAND, {"brand": brand}, item.brand))
    own = {name for name in item.categories if not rules.is_silent_name(name)}
    category = next((name for name, share in user.categories if share >= rules.min_share and name in own), None)
    told = rules.names.clean(category)
    if told:
        found.append(Fact(FactKind.CATEGORY, {"category": told}, category))
    segment = rules.names.clean(user.segment)
    if segment and _is_segment_shared(user, own, rules):
        found.append(Fact(FactKind.SEGMENT, {"segment": segment}, user.segment))
    return found


def _is_segment_shared(user: UserFacts, own: set[str], rules: FactRules) -> bool:
    """Tell if a segment is named after one or two of the user's categories, none silent, one of them the item's own.

    Names may hold " and " themselves: where a segment can be read in several ways, each must be so.
    """
    names = {name: safe_name(name) for name, _ in user.categories}
    readings = [{one} for one, told in names.items() if told == user.segment]
    readings += [{one, two} for one, two in permutations(names, 2) if f"{names[one]} and {names[two]}" == user.segment]
    return bool(readings) and all(
        not own.isdisjoint(reading) and not any(map(rules.is_silent_name, reading)) for reading in readings
    )


def _is_silent_node(path: SharedPath, rules: FactRules) -> bool:
    """Tell if what a path shares is a silent category, or a brand that a silent item has."""
    is_brand = name_key(path.node) == name_key(path.item.brand or "")
    return rules.is_silent_name(path.node) or (is_brand and path.item.is_brand_silent)


def _of_price(user: UserFacts, item: ItemFacts, language: str) -> list[Fact]:
    if user.prices is None or item.price is None or user.num_items < _FEW:
        return []
    low, high = user.prices
    price, at_least, at_most = (number(value, language) for value in (item.price, low, high))
    if low <= item.price <= high and at_least != at_most:
        return [Fact(FactKind.PRICE_USUAL, {"price": price, "low": at_least, "high": at_most})]
    if item.price < low and price != at_least:
        return [Fact(FactKind.PRICE_BELOW, {"price": price, "low": at_least})]
    return []


def _category_of(item: ItemFacts, rules: FactRules) -> list[Fact]:
    for category in item.categories:
        told = rules.names.clean(category)
        if told:
            return [Fact(FactKind.ITEM_CATEGORY, {"category": told}, category)]
    return []
