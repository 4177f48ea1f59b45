"""Settings of what may be shown: markets, ages, segments of users and the business rules."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, model_validator

from mmrec_lib.section import Section

Name = Annotated[str, Field(min_length=1)]
Age = Annotated[float, Field(ge=0, allow_inf_nan=False)]
MAX_AMOUNT = 100.0
"""Largest boost. Scores are standardised per user, so that 1.0 is about one standard deviation of a user's scores."""


class Condition(Section):
    """One condition on an attribute of users or items; a missing attribute meets `missing` alone.

    Attributes:
        attribute: Name of the attribute.
        is_in: Texts of which it must be one.
        not_in: Texts of which it must be none.
        at_least: Least number; what is no number does not meet it.
        below: Number that it must be below.
        missing: true asks for an attribute that is missing, false for one that is there.
    """

    attribute: Name
    is_in: tuple[Name, ...] | None = Field(default=None, min_length=1)
    not_in: tuple[Name, ...] | None = Field(default=None, min_length=1)
    at_least: float | None = Field(default=None, allow_inf_nan=False)
    below: float | None = Field(default=None, allow_inf_nan=False)
    missing: bool | None = None

    @model_validator(mode="after")
    def _asks_something(self) -> Condition:
        if {self.is_in, self.not_in, self.at_least, self.below, self.missing} == {None}:
            raise ValueError(
                f"condition on `{self.attribute}`: one of is_in, not_in, at_least, below and missing is needed, got "
                "none"
            )
        if self.at_least is not None and self.below is not None and self.at_least >= self.below:
            raise ValueError(
                f"condition on `{self.attribute}`: at_least must be less than below, got {self.at_least:g} and "
                f"{self.below:g}"
            )
        if self.missing and {self.is_in, self.not_in, self.at_least, self.below} != {None}:
            raise ValueError(f"condition on `{self.attribute}`: `missing: true` stands alone, got other tests besides")
        return self


class ItemSelector(Section):
    """Items that a rule is about: those that meet each field that is given; within a list one is enough.

    Attributes:
        item_ids: Ids of items.
        categories: Categories, spelled as in the table item.
        brands: Brands, spelled as the items have them.
        price_at_least: Least price; items without a price do not meet it.
        price_below: Price that they are below.
        attributes: Conditions on attributes of items, such as stock or margin.
    """

    item_ids: tuple[Name, ...] | None = Field(default=None, min_length=1)
    categories: tuple[Name, ...] | None = Field(default=None, min_length=1)
    brands: tuple[Name, ...] | None = Field(default=None, min_length=1)
    price_at_least: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    price_below: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    attributes: tuple[Condition, ...] = ()

    @property
    def follows_data(self) -> bool:
        """True where prices or attributes decide, so that the items change without the rule."""
        return bool(self.attributes) or self.price_at_least is not None or self.price_below is not None

    @model_validator(mode="after")
    def _selects_something(self) -> ItemSelector:
        fields = (self.item_ids, self.categories, self.brands, self.price_at_least, self.price_below)
        if not self.attributes and set(fields) == {None}:
            raise ValueError(
                "items: one of item_ids, categories, brands, price_at_least, price_below and attributes is needed, "
                "got none, which would be the whole catalogue"
            )
        if self.price_at_least is not None and self.price_below is not None and self.price_at_least >= self.price_below:
            raise ValueError(
                f"items: price_at_least must be less than price_below, got {self.price_at_least:g} and "
                f"{self.price_below:g}"
            )
        return self


class _RuleBase(Section):
    """Fields that every rule has.

    Attributes:
        name: Name of the rule; messages and reasons name it.
        items: Items that it is about.
        segment: Name of the segment of users that it holds for; null is everybody.
        from_date: First day on which it holds; null has no beginning.
        until_date: Last day on which it holds; null has no end.
    """

    name: Name
    items: ItemSelector
    segment: Name | None = None
    from_date: date | None = None
    until_date: date | None = None

    @model_validator(mode="after")
    def _dates_are_ordered(self) -> _RuleBase:
        if self.from_date is not None and self.until_date is not None and self.from_date > self.until_date:
            raise ValueError(
                f"rule `{self.name}`: from_date must not be after until_date, got {self.from_date} and "
                f"{self.until_date}"
            )
        return self

    def holds_on(self, day: date) -> bool:
        """Tell whether the rule holds on a day."""
        begun = self.from_date is None or self.from_date <= day
        return begun and (self.until_date is None or day <= self.until_date)


class ExcludeRule(_RuleBase):
    """Rule that keeps items out of lists.

    Attributes:
        kind: exclude.
    """

    kind: Literal["exclude"]


class BoostRule(_RuleBase):
    """Rule that adds to the scores of items.

    Attributes:
        kind: boost.
        amount: Added to the score; 1.0 is about one standard deviation of a user's scores.
    """

    kind: Literal["boost"]
    amount: float = Field(default=1.0, gt=0, le=MAX_AMOUNT, allow_inf_nan=False)


class BuryRule(_RuleBase):
    """Rule that takes from the scores of items.

    Attributes:
        kind: bury.
        amount: Taken from the score; 1.0 is about one standard deviation of a user's scores.
    """

    kind: Literal["bury"]
    amount: float = Field(default=1.0, gt=0, le=MAX_AMOUNT, allow_inf_nan=False)


class PinRule(_RuleBase):
    """Rule that puts items at fixed places of lists: the first at `position`, the others after it.

    Attributes:
        kind: pin.
        position: Place of the first item, from 1. Items stand as `item_ids` names them, else by id.
    """

    kind: Literal["pin"]
    position: int = Field(ge=1)


Rule = Annotated[ExcludeRule | BoostRule | BuryRule | PinRule, Field(discriminator="kind")]


class RuleSet(Section):
    """Rules and the segments that they name: the content of a rules file.

    Attributes:
        segments: Conditions on attributes of users by name of the segment; a user must meet all of them.
        rules: The rules.
    """

    segments: dict[str, tuple[Condition, ...]] = Field(default_factory=dict)
    rules: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _names_are_known(self) -> RuleSet:
        for segment, conditions in self.segments.items():
            if not conditions:
                raise ValueError(f"segment `{segment}`: at least one condition is needed, got none")
        names = [rule.name for rule in self.rules]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"rules: each name once is needed, but `{twice[0]}` stands twice")
        return self


class ShowingConfig(RuleSet):
    """Rules of what may be shown to whom, applied before selection; by default all available items to everybody.

    Attributes:
        rules_file: YAML file with more `segments` and `rules`; null is none.
        market_attribute: Attribute of users that names their market. Items with `markets` are then shown in those
            markets alone. null passes over the markets of items.
        default_market: Market of users without one; null shows them only items that are sold everywhere.
        age_rating_attribute: Attribute of items with the least age of who may see them; null is no age limit. Items
            without it are for everybody, those whose rating cannot be read for nobody.
        age_ratings: Ages of ratings that are no numbers, such as `PG-13: 13`.
        age_attribute: Attribute of users with their age in years.
        default_age: Age of users without a readable one; null shows them only items that are for everybody.
        brand_attribute: Attribute of items that names their brand, where the items have no column brand.
        control_strength: What `boost` and `less` of a user add and take where the record has no strength.
        max_control_dimensions: Most categories and brands that users may boost or lessen altogether. Each lengthens
            the vectors of all users and items by one dimension.
        max_groups: Most groups of users with different catalogues (by market, age and segments). Each takes one byte an
            item.
        max_removed_share: Share of the available items above which a rule, or all exclusions for everybody together,
            stop the run.
    """

    rules_file: str | None = None
    market_attribute: Name | None = None
    default_market: Name | None = None
    age_rating_attribute: Name | None = None
    age_ratings: dict[str, Age] = Field(default_factory=dict)
    age_attribute: Name = "age"
    default_age: Age | None = None
    brand_attribute: Name = "brand"
    control_strength: float = Field(default=1.0, gt=0, le=MAX_AMOUNT, allow_inf_nan=False)
    max_control_dimensions: int = Field(default=64, ge=0)
    max_groups: int = Field(default=256, ge=1)
    max_removed_share: float = Field(default=0.5, ge=0, le=1)

    @model_validator(mode="after")
    def _defaults_have_an_attribute(self) -> ShowingConfig:
        if self.default_market is not None and self.market_attribute is None:
            raise ValueError(
                "showing.default_market has an effect only where showing.market_attribute names an attribute of users, "
                f"got {self.default_market!r} without one"
            )
        given = {
            "age_ratings": bool(self.age_ratings),
            "age_attribute": self.age_attribute != type(self).model_fields["age_attribute"].default,
            "default_age": self.default_age is not None,
        }
        idle = [f"showing.{name}" for name, is_given in given.items() if is_given]
        if idle and self.age_rating_attribute is None:
            raise ValueError(
                f"{' and '.join(idle)}: ages have an effect only where showing.age_rating_attribute names an attribute "
                "of items, got none"
            )
        return self
