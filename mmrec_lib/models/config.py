"""Configuration of rankers: bounds of the search (TrainingConfig) and its result (RankerSettings).

Every weight and regulariser is relative to the interactions per item of the data it meets, so that settings chosen on
one fit serve the next, larger one, and no default belongs to one data set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from mmrec_lib.models.heads_settings import HeadsSettings
from mmrec_lib.models.second_stage_settings import SecondStageSettings
from mmrec_lib.models.sources.base import SettingsT, Source
from mmrec_lib.models.sources.registry import SOURCES, searched_names
from mmrec_lib.models.study_settings import StudySettings
from mmrec_lib.section import Section

BaselineName = Literal["popularity", "decayed_popularity", "item_knn", "ease", "ranker_no_content"]
BASELINE_NAMES: tuple[BaselineName, ...] = ("popularity", "decayed_popularity", "item_knn", "ease", "ranker_no_content")
"""The baselines of `models.baselines`."""


def _equal_weights() -> dict[str, float]:
    return dict.fromkeys(searched_names(), 1.0)


class TrainingConfig(Section):
    """Settings of training.

    Attributes:
        seed: Seed of everything random: starting factors, simulated cold items, folds.
        refit_on_valid: Evaluate on test a fit on train and valid (fit 2); false keeps the fit on train.
        sources: Collaborative sources that may enter the fusion, by their names in `models.sources.registry`.
        use_content: False trains without any item content.
        exclude_content: Names of content blocks to leave out.
        dims: Lengths of distilled vectors to choose from; shorter wins when it loses little.
        dim_tolerance: Relative loss of the validation metric at which the shorter vector still wins.
        max_dense_items: Largest number of items with interactions for item-by-item matrices (EASE); above it implicit
            ALS and a low-rank filter carry the ranking. The fit takes about 6 * 4 bytes * max_dense_items^2.
        max_fit_users: Users whose histories factors, graph filters and item kNN are fitted on, at most (a seeded sample
            above); popularity counts everybody.
        max_search_fit_users: The same while settings are chosen.
        max_search_items: Items with interactions whose item-by-item matrices the search inverts, at most (the most
            frequent above), and items that simulate new ones; the fit takes all.
        max_search_users: Users of the validation part that the search looks at, at most (a seeded sample above).
        max_search_cells: Users times items whose scores the search holds at once, at most, for each source.
        user_block: Users scored at once; scores of a block are user_block * items * 4 bytes for each source.
        search_rounds: Rounds of the coordinate search of each source.
        cold_item_share: Share of the items that simulate cold ones while cold-item settings are chosen.
        max_groups: Demographic groups kept, at most, the largest first.
        min_group_users: Users with interactions that a demographic group needs.
        second_stage: A network that orders the candidates of users with history; kept where it beats the first stage's
            order on held-out events. Null trains none.
        heads: Probabilities of outcomes, from the score and a few facts; each is kept where it beats the base rate on
            users that it has not seen. Null keeps no outcomes and trains none.
        study: A search of all settings together, by Optuna, after each was chosen by itself; what it finds is taken
            where users that it has not seen gain. Null (the default) makes none: it takes minutes.
    """

    seed: int = 0
    refit_on_valid: bool = True
    sources: tuple[str, ...] = Field(default_factory=searched_names)
    use_content: bool = True
    exclude_content: tuple[str, ...] = ()
    dims: tuple[int, ...] = (64, 128)
    dim_tolerance: float = Field(default=0.002, ge=0)
    max_dense_items: int = Field(default=10_000, ge=0)
    max_fit_users: int = Field(default=200_000, ge=1)
    max_search_fit_users: int = Field(default=50_000, ge=1)
    max_search_items: int = Field(default=2_000, ge=1)
    max_search_users: int = Field(default=4_000, ge=1)
    max_search_cells: int = Field(default=40_000_000, ge=1)
    user_block: int = Field(default=1_024, ge=1)
    search_rounds: int = Field(default=1, ge=1)
    cold_item_share: float = Field(default=0.17, gt=0, lt=1)
    max_groups: int = Field(default=32, ge=0)
    min_group_users: int = Field(default=20, ge=1)
    second_stage: SecondStageSettings | None = SecondStageSettings()
    heads: HeadsSettings | None = HeadsSettings()
    study: StudySettings | None = None

    @field_validator("sources")
    @classmethod
    def _are_registered(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        allowed = searched_names()
        if unknown := [name for name in names if name not in allowed]:
            raise ValueError(f"sources must be among {', '.join(allowed)}, got {', '.join(unknown)}")
        return names


class PopularitySettings(Section):
    """Popularity and demographics.

    Attributes:
        half_life_days: Age at which an interaction counts half; null counts all alike.
        group_shrinkage: Pseudo-count that shrinks a group's observed over expected interactions with an item to 1.
        group_weight: Weight of the groups' log-ratios for users without history.
        warm_weight: Weight of standardised log popularity for users with history.
        warm_group_weight: Weight of the groups' log-ratios for users with history.
    """

    half_life_days: float | None = Field(default=None, gt=0)
    group_shrinkage: float = Field(default=3.0, gt=0)
    group_weight: float = Field(default=0.5, ge=0)
    warm_weight: float = Field(default=0.0, ge=0)
    warm_group_weight: float = Field(default=0.0, ge=0)


class ColdItemSettings(Section):
    """Items without interactions: ridge from content to the vectors of items that have some.

    Attributes:
        regulariser: Ridge penalty on the kernel of unit rows, per unit of summed block weights.
        scale: Factor on the predicted vector, so that cold items' scores spread like others'.
        shift: Constant added to a cold item's score.
        weights: Weight of each content block in the ridge; 1 where not named.
    """

    regulariser: float = Field(default=0.3, gt=0)
    scale: float = Field(default=1.0, ge=0)
    shift: float = 0.0
    weights: dict[str, float] = Field(default_factory=dict)


class RankerSettings(Section):
    """Everything that a fit needs besides its data; chosen on validation, reused for later fits.

    Attributes:
        seed: Seed of starting factors and range finders.
        weight_exponent: How much interaction weights count: an entry of a history is (weight over the user's mean)
            to this power, so 0 takes all alike.
        fusion: Weight of each source's standardised scores; absent sources are not fitted.
        dim: Length of the distilled vectors.
        sources: Settings of each registered source, the defaults of its class where none are given. In a saved model
            and in MLflow each is a key of its own, beside the other settings.
        content_weights: Weight of each content block in the Gram matrix; 1 where not named.
        popularity: Settings of popularity and demographics.
        cold_items: Settings of items without interactions.
        use_content: False fits without any item content.
        exclude_content: Content blocks to leave out.
        max_dense_items: See TrainingConfig.
        user_block: See TrainingConfig.
        max_groups: See TrainingConfig.
        min_group_users: See TrainingConfig.
        second_stage: Settings of the second stage; None for none.
    """

    seed: int = 0
    weight_exponent: float = Field(default=0.0, ge=0)
    fusion: dict[str, float] = Field(default_factory=_equal_weights)
    dim: int = Field(default=64, ge=1)
    sources: Mapping[str, SerializeAsAny[Section]] = Field(default_factory=dict, validate_default=True)
    content_weights: dict[str, float] = Field(default_factory=dict)
    popularity: PopularitySettings = PopularitySettings()
    cold_items: ColdItemSettings = ColdItemSettings()
    use_content: bool = True
    exclude_content: tuple[str, ...] = ()
    max_dense_items: int = Field(default=10_000, ge=0)
    user_block: int = Field(default=1_024, ge=1)
    max_groups: int = Field(default=32, ge=0)
    min_group_users: int = Field(default=20, ge=1)
    second_stage: SecondStageSettings | None = None

    def of(self, source: type[Source[SettingsT]]) -> SettingsT:
        """Settings of one source."""
        settings = self.sources[source.name]
        assert isinstance(settings, source.settings_type)
        return settings

    def with_sources(self, updates: Mapping[str, Section]) -> RankerSettings:
        """The same settings with others for some sources."""
        return self.model_copy(update={"sources": {**self.sources, **updates}})

    def with_max_users(self, max_users: int) -> RankerSettings:
        """The same settings with each source that reads a sample of users reading no more than these."""
        return self.with_sources(
            {
                name: settings.model_copy(update={"max_users": min(settings.max_users, max_users)})
                for name, settings in self.sources.items()
                if hasattr(settings, "max_users")
            }
        )

    @model_validator(mode="before")
    @classmethod
    def _collect_sources(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        rest = {name: value for name, value in values.items() if name not in SOURCES}
        named = {name: value for name, value in values.items() if name in SOURCES}
        return {**rest, "sources": {**values.get("sources", {}), **named}}

    @field_validator("sources", mode="before")
    @classmethod
    def _complete(cls, given: Mapping[str, Any]) -> dict[str, Section]:
        if unknown := sorted(set(given) - set(SOURCES)):
            raise ValueError(f"sources must be among {', '.join(SOURCES)}, got {', '.join(unknown)}")
        return {name: source.settings_type.model_validate(given.get(name, {})) for name, source in SOURCES.items()}

    @model_serializer(mode="wrap")
    def _flatten_sources(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        flat: dict[str, Any] = {}
        for name, value in handler(self).items():
            flat |= value if name == "sources" else {name: value}
        return flat
