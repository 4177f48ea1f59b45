"""Settings of re-ranking: nothing is on by default, each section switches one step on and says how strong it is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from mmrec_lib.section import Section


class ContentSimilarityConfig(Section):
    """Second stage that mixes the similarity of a candidate and the user's history into the first stage's score.

    Attributes:
        kind: The name of this second stage.
        weight: Share of the similarity in the mixed score; the rest is the first stage's score, scaled to 0..1.
    """

    kind: Literal["content_similarity"] = "content_similarity"
    weight: float = Field(default=0.2, gt=0.0, le=1.0)


class DuplicatesConfig(Section):
    """At most one item of a group of near-duplicates in a list, such as a product in three colours.

    Attributes:
        threshold: Items whose content vectors have at least this cosine may be duplicates.
        same_brand: Duplicates must have the same brand too; items without one match among themselves.
        same_title: Duplicates must have the same stem of the title too.
        max_neighbors: Similar items looked at for each item, at most.
    """

    threshold: float = Field(default=0.97, gt=0.0, le=1.0)
    same_brand: bool = True
    same_title: bool = False
    max_neighbors: int = Field(default=256, ge=1)


class QuotaConfig(Section):
    """A limit for the items of a category or brand, or for new items, in the first places of a list.

    Attributes:
        by: Property of an item that the quota counts.
        name: The category or brand; None limits each of them on its own. Not given for new items.
        at_most: Items, at most.
        at_least: Items, at least, as far as the candidates hold so many.
        first: The places that the quota is about, from the top; None is the whole list.
    """

    by: Literal["category", "brand", "new"]
    name: str | None = None
    at_most: int | None = Field(default=None, ge=0)
    at_least: int | None = Field(default=None, ge=1)
    first: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _says_something(self) -> QuotaConfig:
        subject = f"quota by {self.by}"
        if self.at_most is None and self.at_least is None:
            raise ValueError(f"{subject}: it needs at_most or at_least, got neither")
        if self.by == "new" and self.name is not None:
            raise ValueError(f"{subject}: new items have no name, got {self.name!r}; leave `name` out")
        if self.by != "new" and self.name is None and self.at_least is not None:
            raise ValueError(f"{subject}: at_least needs the name of one {self.by}")
        if self.at_most is not None and self.at_least is not None and self.at_least > self.at_most:
            raise ValueError(f"{subject}: at_least must not exceed at_most, got {self.at_least} and {self.at_most}")
        if self.first is not None and self.at_least is not None and self.at_least > self.first:
            raise ValueError(f"{subject}: at_least must not exceed first, got {self.at_least} and {self.first}")
        if self.first is not None and self.at_most is not None and self.at_most >= self.first:
            raise ValueError(f"{subject}: at_most has an effect only below first, got {self.at_most} and {self.first}")
        return self


class MmrConfig(Section):
    """Maximal marginal relevance: candidates lose what they resemble the most similar item above them.

    Attributes:
        kind: The name of this kind of diversity.
        strength: 1 - lambda of the paper: 0 orders by relevance alone, 1 by dissimilarity alone.
    """

    kind: Literal["mmr"] = "mmr"
    strength: float = Field(default=0.3, gt=0.0, le=1.0)


class DppConfig(Section):
    """Determinantal point process: the list spans a large volume in content space.

    Attributes:
        kind: The name of this kind of diversity.
        strength: 1 - theta of the paper: 0 orders by relevance alone, 1 by volume alone.
    """

    kind: Literal["dpp"] = "dpp"
    strength: float = Field(default=0.3, gt=0.0, le=1.0)


class CalibrationConfig(Section):
    """Calibrated lists: shares of categories follow those of the user's history.

    Attributes:
        strength: lambda of the paper: 0 orders by relevance alone, 1 by calibration alone.
        smoothing: alpha of the paper: share of the history's distribution that is mixed into the list's.
    """

    strength: float = Field(default=0.3, gt=0.0, le=1.0)
    smoothing: float = Field(default=0.01, gt=0.0, lt=1.0)


class ExplorationConfig(Section):
    """Places that sometimes show a new item, with the probability of what is shown written down.

    Attributes:
        slots: The places, from 1. One beyond the end of a list is not used there.
        epsilon: Probability that a slot shows a new item; the others move down by one place.
    """

    slots: tuple[int, ...] = (5,)
    epsilon: float = Field(default=0.1, gt=0.0, lt=1.0)

    @field_validator("slots")
    @classmethod
    def _slots_are_places(cls, slots: tuple[int, ...]) -> tuple[int, ...]:
        if not slots or min(slots) < 1 or len(set(slots)) != len(slots):
            raise ValueError(f"exploration.slots: distinct places of at least 1 are needed, got {list(slots)}")
        return tuple(sorted(slots))


class RerankingConfig(Section):
    """Steps between the candidates of a user and the list; all are off by default.

    Attributes:
        num_candidates: Candidates a user that the first stage hands over; `scoring.k` where that is more.
        relevance: Scale of scores beside diversity or calibration: minmax (0 for a user's worst candidate, 1 for the
            best), rank (the same by place) or score (as the model gives it, for scores that lie between 0 and 1).
        second_stage: Model that scores the candidates again; None keeps the first stage's scores.
        duplicates: Collapse of near-duplicates; None shows them all.
        quotas: Limits by category or brand and for new items.
        fill: Places that no candidate may take within the quotas get the best remaining one; otherwise the list ends
            there.
        diversity: Objective in content space; None for none.
        calibration: Objective over categories; None for none.
        exploration: Slots of new items; None for none.
    """

    num_candidates: int = Field(default=200, ge=1)
    relevance: Literal["minmax", "rank", "score"] = "minmax"
    second_stage: ContentSimilarityConfig | None = None
    duplicates: DuplicatesConfig | None = None
    quotas: tuple[QuotaConfig, ...] = ()
    fill: bool = True
    diversity: Annotated[MmrConfig | DppConfig, Field(discriminator="kind")] | None = None
    calibration: CalibrationConfig | None = None
    exploration: ExplorationConfig | None = None

    @model_validator(mode="after")
    def _strengths_leave_room(self) -> RerankingConfig:
        diversity, calibration = self.diversity_strength, self.calibration_strength
        if diversity + calibration > 1:
            raise ValueError(
                f"reranking: the strengths of diversity and calibration add up to 1 at most, got {diversity:g} and "
                f"{calibration:g}; relevance has the rest"
            )
        return self

    @model_validator(mode="after")
    def _each_key_has_an_effect(self) -> RerankingConfig:
        needs = {
            "num_candidates": (self.is_on, "a step"),
            "relevance": (bool(self.diversity or self.calibration), "diversity or calibration"),
            "fill": (bool(self.quotas), "quotas"),
        }
        for name, (is_met, needed) in needs.items():
            value = getattr(self, name)
            if value != type(self).model_fields[name].default and not is_met:
                raise ValueError(f"reranking.{name} has an effect only beside {needed}, got {value!r} without")
        return self

    def check_length(self, k: int) -> None:
        """Refuse slots and quotas that lists of k items cannot have.

        Raises:
            ValueError: When a slot lies beyond the end, or a quota asks for more places or limits no list.
        """
        beyond = [slot for slot in self.exploration.slots if slot > k] if self.exploration is not None else []
        if beyond:
            raise ValueError(f"reranking.exploration.slots: places of 1 to scoring.k = {k} are needed, got {beyond}")
        for quota in self.quotas:
            for name, value, limit in (
                ("first", quota.first, k),
                ("at_least", quota.at_least, k),
                ("at_most", quota.at_most, k - 1),
            ):
                if value is not None and value > limit:
                    raise ValueError(
                        f"reranking.quotas by {quota.by}: {name} must be at most {limit} for lists of scoring.k = {k} "
                        f"items to have any effect, got {value}"
                    )

    @property
    def diversity_strength(self) -> float:
        """Weight of diversity in the objective."""
        return 0.0 if self.diversity is None else self.diversity.strength

    @property
    def calibration_strength(self) -> float:
        """Weight of calibration in the objective."""
        return 0.0 if self.calibration is None else self.calibration.strength

    @property
    def selects(self) -> bool:
        """True where lists are chosen place by place rather than cut from the candidates."""
        return bool(self.duplicates or self.quotas or self.diversity or self.calibration)

    @property
    def is_on(self) -> bool:
        """True where any step is on."""
        return bool(self.second_stage or self.selects or self.exploration)
