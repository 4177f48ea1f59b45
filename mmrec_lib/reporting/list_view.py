"""Lists of items and audiences as the template prints them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmrec_lib.reporting.data import ShownList
from mmrec_lib.reporting.thumbnails import Thumbnails
from mmrec_lib.reporting.view import NUM_NEIGHBORS, Image, Listed, count, image_of, label

LIST_TYPES = {
    "bought_together": (
        "Bought together",
        "Items that share baskets more often than chance explains: log-likelihood ratio, and number of baskets.",
        "ratio {:.1f}",
    ),
    "continue_with": (
        "Continue with",
        "What people took next, or what the catalogue names as next: share of the users, and their number.",
        "share {:.2f}",
    ),
    "trending": (
        "Trending",
        "What grows in an audience: growth that is exceeded with 95 % probability, and users and days in the window.",
        "growth {:.2f}",
    ),
    "popular_like_you": (
        "Popular among people like you",
        "Lists of audiences for users without history: share of the users who took it, and their number.",
        "share {:.2f}",
    ),
}
"""Title of each list type, what its numbers are, and how a score is written."""


@dataclass(frozen=True)
class ListView:
    """A list of an item or an audience."""

    owner: Image | None
    audience: str
    items: Sequence[Listed]


@dataclass(frozen=True)
class ListTypeView:
    """The lists of one type that are shown."""

    title: str
    lead: str
    lists: Sequence[ListView]


def list_type_views(
    lists: Sequence[ShownList], num_lists: Mapping[str, int], thumbnails: Thumbnails
) -> list[ListTypeView]:
    """Lists that are not made for one user, by type."""
    views = []
    for name in dict.fromkeys(shown.list_type for shown in lists):
        title, lead, score = LIST_TYPES.get(name, (label(name).capitalize(), "", "{:.2f}"))
        number = num_lists.get(name, 0)
        views.append(
            ListTypeView(
                title=title,
                lead=f"{lead} {count(number)} {'list' if number == 1 else 'lists'}.".strip(),
                lists=[
                    ListView(
                        owner=None if shown.owner is None else image_of(shown.owner, thumbnails),
                        audience=shown.audience,
                        items=[
                            Listed(
                                image_of(card, thumbnails),
                                str(rank),
                                score.format(value) + ("" if support is None else f", {count(support)}"),
                            )
                            for rank, (card, value, support) in enumerate(shown.items[:NUM_NEIGHBORS], 1)
                        ],
                    )
                    for shown in lists
                    if shown.list_type == name
                ],
            )
        )
    return views
