"""Report data as the values that the template prints; every choice that is not about looks is made here."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mmrec_lib.evaluation.rows import MetricRow
from mmrec_lib.models.ranker.explanation import NO_MODALITY
from mmrec_lib.reporting.charts import (
    RANKER,
    RESIDUAL,
    Strip,
    share_strips,
    source_colors,
)
from mmrec_lib.reporting.data import (
    Card,
    HistoryItem,
    Neighbors,
    Recommendation,
    ReportData,
    ShownUser,
)
from mmrec_lib.reporting.thumbnails import Thumbnails

NUM_HISTORY = 10
NUM_RECOMMENDATIONS = 12
NUM_NEIGHBORS = 7
NUM_CATEGORIES = 7
SOURCE_NAMES = {RESIDUAL: "residual"}


@dataclass(frozen=True)
class Tile:
    """A key figure."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Image:
    """A card with its image as a `data:` address."""

    title: str
    item_id: str
    caption: str
    address: str | None


@dataclass(frozen=True)
class Listed:
    """An item in a user's history or list."""

    image: Image
    label: str
    note: str = ""
    strips: Sequence[Strip] = ()
    modality_strips: Sequence[Strip] = ()
    without: str = ""


@dataclass(frozen=True)
class TasteBar:
    """Share of a category in the history and in the list, in percent."""

    category: str
    history: float
    recommended: float


@dataclass(frozen=True)
class UserView:
    """A user's card."""

    user_id: str
    kind: str
    facts: Sequence[tuple[str, str]]
    history: Sequence[Listed]
    more_history: int
    recommendations: Sequence[Listed]
    taste: Sequence[TasteBar]
    taste_scale: float


@dataclass(frozen=True)
class NeighborView:
    """An item and what is like it."""

    image: Image
    similar: Sequence[Listed]


@dataclass(frozen=True)
class Bar:
    """A horizontal bar, width in percent."""

    label: str
    width: float
    text: str
    note: str = ""


def tiles(data: ReportData) -> list[Tile]:
    """Key figures on top of the page."""
    made: list[Tile] = []
    for table, label in (("user", "users"), ("item", "items"), ("event", "events"), ("media_asset", "media")):
        if table in data.tables:
            made.append(Tile(label, count(data.tables[table])))
    rows = headline_rows(data)
    by_key = {(row.model, row.segment, row.name): row for row in rows}
    for segment in ("warm", "all"):
        ranker, popular = by_key.get((RANKER, segment, "recall@20")), by_key.get(("popularity", segment, "recall@20"))
        if ranker and popular:
            whom = "users with history" if segment == "warm" else "all users"
            times = f"{ranker.value / popular.value:.1f} times popularity, " if popular.value > 0 else ""
            made.append(Tile("recall@20", f"{ranker.value:.3f}", times + whom))
            break
    if (RANKER, "all", "ndcg@10") in by_key:
        made.append(Tile("nDCG@10", f"{by_key[RANKER, 'all', 'ndcg@10'].value:.3f}", "all users"))
    if sum(data.seconds.values()) > 0:
        made.append(Tile("made in", duration(sum(data.seconds.values())), "this run, all jobs"))
    return made


def headline_rows(data: ReportData) -> Sequence[MetricRow]:
    """Rows of the fit that headlines speak of: the one read on test last."""
    return data.metrics.get("fit2") or data.metrics.get("fit1") or next(iter(data.metrics.values()), ())


@dataclass(frozen=True)
class ShareColors:
    """Colours of the parts of strips.

    Attributes:
        sources: Colour number of each source.
        modalities: Colour number of each modality.
    """

    sources: Mapping[str, int]
    modalities: Mapping[str, int]

    @classmethod
    def of(cls, users: Sequence[ShownUser]) -> ShareColors:
        """Colours by weight in the lists of these users."""
        lines = [line for user in users for line in user.recommendations]
        modalities = source_colors(
            [{name: share for name, share in line.modality_shares.items() if name != NO_MODALITY} for line in lines]
        )
        has_others = any(NO_MODALITY in line.modality_shares for line in lines)
        return cls(
            source_colors([line.shares for line in lines]), modalities | ({NO_MODALITY: 0} if has_others else {})
        )


def user_views(users: Sequence[ShownUser], thumbnails: Thumbnails) -> tuple[list[UserView], list[Strip], list[Strip]]:
    """Cards of users, and the legends of sources and of modalities in their colours."""
    colors = ShareColors.of(users)
    views = [_user_view(user, colors, thumbnails) for user in users]
    return views, _legend(colors.sources), _legend(colors.modalities)


def _legend(colors: Mapping[str, int]) -> list[Strip]:
    return [Strip(name, 0.0, colors[part], False, "") for part, name in _names(colors).items()]


def _names(colors: Mapping[str, int]) -> dict[str, str]:
    return {part: SOURCE_NAMES.get(part, label(part)) for part in colors}


def _without(line: Recommendation) -> str:
    """Rank without the item of the history that counts most, in a few words."""
    if line.without is None:
        return ""
    return f"without {line.without.title}: place {line.without.rank:,} → {line.without.rank_without:,}"


def _user_view(user: ShownUser, colors: ShareColors, thumbnails: Thumbnails) -> UserView:
    taste = _taste(user.history_categories, user.recommended_categories)
    history = _history(user.history, thumbnails)
    facts = [("events", count(user.num_events)), *((label(key), value) for key, value in user.attributes.items())]
    return UserView(
        user_id=user.user_id,
        kind="with history" if user.is_warm else "new",
        facts=facts if user.taste is None else [*facts, ("taste", user.taste)],
        history=history[:NUM_HISTORY],
        more_history=max(user.num_history, len(history)) - len(history[:NUM_HISTORY]),
        recommendations=[
            Listed(
                image_of(line.card, thumbnails),
                str(line.rank),
                f"score {line.score:.2f}" + ("" if line.path is None else f", as {line.path}"),
                share_strips(line.shares, colors.sources, _names(colors.sources)),
                share_strips(line.modality_shares, colors.modalities, _names(colors.modalities)),
                _without(line),
            )
            for line in user.recommendations[:NUM_RECOMMENDATIONS]
        ],
        taste=taste,
        taste_scale=100.0 / max(max((max(bar.history, bar.recommended) for bar in taste), default=1.0), 1e-9),
    )


def _history(items: Sequence[HistoryItem], thumbnails: Thumbnails) -> list[Listed]:
    """Each item once, where it was last met, with all that was done with it."""
    met: dict[str, list[HistoryItem]] = {}
    for item in items:
        met.setdefault(item.card.item_id, []).append(item)
    # Only what is shown may spend the budget of images.
    return [
        Listed(
            image_of(some[0].card if place < NUM_HISTORY else Card(item_id), thumbnails),
            ", ".join(dict.fromkeys(label(item.event_type) for item in some)),
            some[0].when or "",
        )
        for place, (item_id, some) in enumerate(met.items())
    ]


def _taste(history: Mapping[str, float], recommended: Mapping[str, float]) -> list[TasteBar]:
    """The categories that weigh most in either, by their weight in the history; none for a user without history."""
    if not history:
        return []
    weight = {name: max(history.get(name, 0.0), recommended.get(name, 0.0)) for name in {**history, **recommended}}
    chosen = sorted(weight, key=lambda name: (-weight[name], name))[:NUM_CATEGORIES]
    bars = [TasteBar(name, 100 * history.get(name, 0.0), 100 * recommended.get(name, 0.0)) for name in chosen]
    return sorted(bars, key=lambda bar: (-bar.history, -bar.recommended, bar.category))


def neighbor_views(neighbors: Sequence[Neighbors], thumbnails: Thumbnails) -> list[NeighborView]:
    """Items beside what is most like them."""
    return [
        NeighborView(
            image_of(line.card, thumbnails),
            [Listed(image_of(card, thumbnails), f"{cosine:.2f}", "") for card, cosine in line.similar[:NUM_NEIGHBORS]],
        )
        for line in neighbors
    ]


def image_of(card: Card, thumbnails: Thumbnails) -> Image:
    """A card with its image shrunk; without one the template draws a placeholder."""
    return Image(card.title or card.item_id, card.item_id, card.caption or "", thumbnails.address(card.image))


def bars(values: Iterable[tuple[str, float, str, str]]) -> list[Bar]:
    """Bars from (label, value, text, note), the longest filling the width."""
    some = list(values)
    longest = max((value for _, value, _, _ in some), default=0.0)
    return [Bar(name, 100.0 * value / longest if longest > 0 else 0.0, text, note) for name, value, text, note in some]


def settings_text(value: object) -> str:
    """A setting as text: nested ones as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    return json.dumps(value, ensure_ascii=False, default=str, sort_keys=True)


def count(value: float) -> str:
    """1,234,567."""
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s` or `3 min 20 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def label(name: str) -> str:
    """A name of the code for people: `item_knn` becomes `item knn`."""
    return name.replace("_", " ")
