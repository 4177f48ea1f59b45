"""Settings of the list types."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from mmrec_lib.section import Section

Name = Annotated[str, Field(min_length=1)]
EventTypes = Annotated[tuple[Name, ...], Field(min_length=1)]

BOUGHT_TOGETHER, CONTINUE_WITH = "bought_together", "continue_with"
TRENDING, POPULAR_LIKE_YOU = "trending", "popular_like_you"
ITEM_TYPES = (BOUGHT_TOGETHER, CONTINUE_WITH)
"""Lists of an item, rows of item_topk."""
AUDIENCE_TYPES = (TRENDING, POPULAR_LIKE_YOU)
"""Lists of an audience, rows of audience_topk."""


class BoughtTogetherConfig(Section):
    """Complements: items that stand in the same baskets more often than chance explains, without substitutes.

    Attributes:
        event_types: Types of events that put an item into a basket.
        basket_attribute: Attribute of events that names their basket, such as an order or session; null is none.
        basket_hours: Events of a user without that attribute are one basket until so many hours pass without one.
        max_basket_items: Baskets with more different items, such as those of resellers, do not count.
        min_support: Least number of baskets with both items.
        min_llr: Least log-likelihood ratio; 10.83 is the value that chance exceeds in one pair of a thousand.
        substitute_similarity: Items of one category are substitutes, not complements, from this cosine of their content
            vectors on; null keeps substitutes.
    """

    event_types: EventTypes = ("purchase",)
    basket_attribute: Name | None = None
    basket_hours: float = Field(default=24.0, gt=0, allow_inf_nan=False)
    max_basket_items: int = Field(default=100, ge=2)
    min_support: int = Field(default=3, ge=1)
    min_llr: float = Field(default=10.83, ge=0, allow_inf_nan=False)
    substitute_similarity: float | None = Field(default=0.6, gt=0, le=1)


class ContinueWithConfig(Section):
    """Items that people take next: the next part of a series, and those that follow an item significantly often.

    Attributes:
        event_types: Types of events by which a user takes an item; null is all that weigh more than 0.
        max_days: The next item counts when it is taken within so many days.
        min_support: Least number of users who took one item right after the other.
        min_llr: Least log-likelihood ratio of taking it next; 10.83 is the value that chance exceeds in one pair of a
            thousand.
        min_order: Least statistic of McNemar's test for the order of the two items; 3.84 is the value that chance
            exceeds in one pair of twenty.
        prior: Users without the next item who are added to those who took the first; more of them put items with
            few users further down.
        series_attribute: Attribute of items that names their series.
        part_attribute: Attribute of items with their number in it. The next part stands first.
        relations: Relations of the knowledge graph whose tail is an item that continues the head, such as `sequel`.
    """

    event_types: EventTypes | None = None
    max_days: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    min_support: int = Field(default=3, ge=1)
    min_llr: float = Field(default=10.83, ge=0, allow_inf_nan=False)
    min_order: float = Field(default=3.84, ge=0, allow_inf_nan=False)
    prior: float = Field(default=5.0, ge=0, allow_inf_nan=False)
    series_attribute: Name = "series"
    part_attribute: Name = "part"
    relations: tuple[Name, ...] = ()


class TrendingConfig(Section):
    """Items that more users take than before: of everybody, and of each market (`showing.market_attribute`).

    Attributes:
        event_types: Types of events that count, each user once a day and item; null is all that weigh more than 0.
        window_days: Days before the as-of date that are compared.
        baseline_days: Days before those that they are compared with.
        min_support: Least number of users and days in the window.
        prior: Strength of the belief that nothing grows, in expected users and days.
        market_prior: Strength of the belief that a market is as all are, in users and days.
    """

    event_types: EventTypes | None = None
    window_days: int = Field(default=7, ge=1)
    baseline_days: int = Field(default=28, ge=1)
    min_support: int = Field(default=5, ge=1)
    prior: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    market_prior: float = Field(default=100.0, gt=0, allow_inf_nan=False)


class PopularLikeYouConfig(Section):
    """Items that most users of an audience took, for users without a history.

    Attributes:
        attributes: Attributes of users that make audiences, numbers to one significant digit, from the coarsest on;
            null is country, gender and age, as far as users have them.
        days: Items taken within so many days before the as-of date count; null is all.
        min_users: Least number of users with a history for a list of their own; others have that of the next larger
            audience.
        prior: Strength of the belief that an audience is as the next larger one, in users.
        max_audiences: Most combinations of groups; each takes a count for every item on the driver.
    """

    attributes: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    days: int | None = Field(default=90, ge=1)
    min_users: int = Field(default=20, ge=1)
    prior: float = Field(default=50.0, gt=0, allow_inf_nan=False)
    max_audiences: int = Field(default=2000, ge=1)

    @model_validator(mode="after")
    def _attributes_once(self) -> PopularLikeYouConfig:
        if self.attributes is not None and len(set(self.attributes)) < len(self.attributes):
            raise ValueError(f"attributes: each once is needed, got {list(self.attributes)}")
        return self


class ListsConfig(Section):
    """Lists by item and by audience; a type that is null is not made.

    Attributes:
        k: Items of a list, at most.
        items_per_task: Items whose lists one task makes.
        bought_together: Complements of an item.
        continue_with: Items that follow an item.
        trending: Items that grow, by market.
        popular_like_you: Items that are popular in an audience.
    """

    k: int = Field(default=20, ge=1)
    items_per_task: int = Field(default=10_000, ge=1)
    bought_together: BoughtTogetherConfig | None = BoughtTogetherConfig()
    continue_with: ContinueWithConfig | None = ContinueWithConfig()
    trending: TrendingConfig | None = TrendingConfig()
    popular_like_you: PopularLikeYouConfig | None = PopularLikeYouConfig()

    @model_validator(mode="after")
    def _makes_a_list(self) -> ListsConfig:
        if not self.types:
            raise ValueError(f"lists: at least one of {', '.join((*ITEM_TYPES, *AUDIENCE_TYPES))} is needed, got none")
        return self

    @property
    def types(self) -> tuple[str, ...]:
        """The list types that are made."""
        return tuple(name for name in (*ITEM_TYPES, *AUDIENCE_TYPES) if getattr(self, name) is not None)
