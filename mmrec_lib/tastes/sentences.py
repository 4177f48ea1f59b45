"""A short text of a person's tastes, made of counted facts only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from mmrec_lib.safe_text import mask_secrets, page_text

MAX_CHARACTERS = 240
_MAX_NAME = 40
# With fewer items or ratings nothing is said of what somebody mostly does.
_FEW = 3
_MOST, _OFTEN, _SOME = 0.5, 0.2, 0.1
_MAX_NAMES = 3


@dataclass(frozen=True)
class TasteFacts:
    """Facts of one user.

    Attributes:
        num_items: Different items in the history.
        categories: Names with their shares, the largest in front.
        brands: Likewise.
        prices: Quartiles of the prices, lower and upper; None without prices.
        num_ratings: Ratings given.
        mean_rating: Their mean; None without ratings.
    """

    num_items: int
    categories: Sequence[tuple[str, float]] = ()
    brands: Sequence[tuple[str, float]] = ()
    prices: tuple[float, float] | None = None
    num_ratings: int = 0
    mean_rating: float | None = None


def taste_text(facts: TasteFacts) -> str | None:
    """Text such as `Mostly Drama and Comedy; often by Acme; around 25 to 40; rates 4.1 on average`.

    `Mostly` names the fewest categories, at most three, that make more than half; `often` a brand from a fifth on. The
    prices are the middle half of those of the items. With few items or ratings it says less.

    Returns:
        At most `MAX_CHARACTERS` characters in one line; None without history or where nothing is known of it.
    """
    if facts.num_items <= 0:
        return None
    parts = [_of_categories(facts), _of_brands(facts), _of_prices(facts), _of_ratings(facts)]
    told = ""
    for part in (part for part in parts if part is not None):
        longer = f"{told}; {part}" if told else part
        if len(longer) <= MAX_CHARACTERS:
            told = longer
    return told[:1].upper() + told[1:] if told else None


def path_text(title: str, relation: str, node: str, node_relation: str) -> str:
    """A path in words: `Alien: directed by Ridley Scott`, or with two relations `… ; this one: starring Bo`.

    Args:
        title: Of the item of the history.
        relation: Of that item to the node.
        node: What both share.
        node_relation: Of the recommended item to the node.
    """
    first, second = (safe_name(name.replace("_", " ")) for name in (relation, node_relation))
    told = f"{safe_name(title)}: {first} {safe_name(node)}"
    return told if first == second else f"{told}; this one: {second}"


def _of_categories(facts: TasteFacts) -> str | None:
    names = [(safe_name(name), share) for name, share in facts.categories if safe_name(name)]
    if not names:
        return None
    if facts.num_items < _FEW:
        return f"so far {_joined([name for name, _ in names[:_MAX_NAMES]])}"
    total = 0.0
    chosen: list[str] = []
    for name, share in names[:_MAX_NAMES]:
        total += share
        chosen.append(name)
        if total > _MOST:
            return f"mostly {_joined(chosen)}"
    often = [name for name, share in names[:_MAX_NAMES] if share >= _SOME]
    return f"often {_joined(often)}" if often else None


def _of_brands(facts: TasteFacts) -> str | None:
    often = [safe_name(name) for name, share in facts.brands if share >= _OFTEN and safe_name(name)]
    if not often or facts.num_items < _FEW:
        return None
    return f"often by {_joined(often[:2])}"


def _of_prices(facts: TasteFacts) -> str | None:
    if facts.prices is None:
        return None
    low, high = (_number(price) for price in facts.prices)
    return f"around {low}" if low == high else f"around {low} to {high}"


def _of_ratings(facts: TasteFacts) -> str | None:
    if facts.mean_rating is None or facts.num_ratings < _FEW:
        return None
    return f"rates {facts.mean_rating:.1f} on average"


@lru_cache(maxsize=10_000)
def safe_name(name: str, max_characters: int = _MAX_NAME) -> str:
    """A name of the source as it may stand in a sentence: one line, nothing hidden, no secrets, of bounded length."""
    told = " ".join(mask_secrets(page_text(name)).split())
    return told if len(told) <= max_characters else told[: max_characters - 1].rstrip() + "…"


def _joined(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _number(value: float) -> str:
    """1,234 from 100 on, else two decimals where there are any."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.2f}"
