"""Configuration of rankers: how to search (TrainingConfig) and what the search found (RankerSettings).

Every weight and regulariser is relative to the interactions per item of the data it meets, so that settings found on
one fit serve the next, larger one, and no default belongs to one data set.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mmrec_lib.section import Section

SourceName = Literal["content_ease", "ridge", "ials", "graph_filter"]
SOURCE_NAMES: tuple[SourceName, ...] = ("content_ease", "ridge", "ials", "graph_filter")
FITTED_NAMES = (*SOURCE_NAMES, "item_knn")
"""Sources that a ranker may consist of; the search chooses among SOURCE_NAMES."""

BaselineName = Literal["popularity", "decayed_popularity", "item_knn", "ease", "ranker_no_content"]
BASELINE_NAMES: tuple[BaselineName, ...] = ("popularity", "decayed_popularity", "item_knn", "ease", "ranker_no_content")
"""The baselines of `models.baselines`."""


def _equal_weights() -> dict[str, float]:
    return dict.fromkeys(SOURCE_NAMES, 1.0)


class TrainingConfig(Section):
    """Settings of training.

    Attributes:
        seed: Seed of everything random: starting factors, simulated cold items, folds.
        refit_on_valid: Judge on test a fit on train and valid (fit 2); false keeps the fit on train.
        sources: Collaborative sources that may enter the fusion.
        use_content: False trains without any item content.
        exclude_content: Names of content blocks to leave out.
        dims: Lengths of distilled vectors to choose from; shorter wins when it loses little.
        dim_tolerance: Relative loss of the validation metric at which the shorter vector still wins.
        max_dense_items: Largest number of items with interactions for item-by-item matrices (EASE); above it implicit
            ALS and a low-rank filter carry the ranking. The fit takes about 6 * 4 bytes * max_dense_items^2.
        max_search_users: Users of the validation part that the search looks at, at most (a seeded sample above).
        max_search_cells: Users times items whose scores the search holds at once, at most, for each source.
        user_block: Users scored at once; scores of a block are user_block * items * 4 bytes for each source.
        search_rounds: Rounds of the coordinate search of each source.
        cold_item_share: Share of the items that simulate cold ones while cold-item settings are chosen.
        max_groups: Demographic groups kept, at most, the largest first.
        min_group_users: Users with interactions that a demographic group needs.
    """

    seed: int = 0
    refit_on_valid: bool = True
    sources: tuple[SourceName, ...] = SOURCE_NAMES
    use_content: bool = True
    exclude_content: tuple[str, ...] = ()
    dims: tuple[int, ...] = (64, 128)
    dim_tolerance: float = Field(default=0.002, ge=0)
    max_dense_items: int = Field(default=10_000, ge=0)
    max_search_users: int = Field(default=4_000, ge=1)
    max_search_cells: int = Field(default=40_000_000, ge=1)
    user_block: int = Field(default=1_024, ge=1)
    search_rounds: int = Field(default=1, ge=1)
    cold_item_share: float = Field(default=0.17, gt=0, lt=1)
    max_groups: int = Field(default=32, ge=0)
    min_group_users: int = Field(default=20, ge=1)


class EaseSettings(Section):
    """EASE with item content in its Gram matrix, and ridge, its form without the diagonal constraint.

    Attributes:
        regulariser: L2 penalty, as a multiple of the interactions per item.
        dropout: Extra penalty of each item, as a multiple of its own interactions.
        content_scale: Weight of the content kernel, as a multiple of the interactions per item.
        user_exponent: Rows of active users are scaled by (their interactions)^-user_exponent in the Gram matrix.
        diagonal_exponent: 1 divides by the diagonal of the inverse as EASE does, 0 is ridge.
    """

    regulariser: float = Field(default=8.0, gt=0)
    dropout: float = Field(default=0.5, ge=0)
    content_scale: float = Field(default=0.12, ge=0)
    user_exponent: float = Field(default=0.25, ge=0)
    diagonal_exponent: float = Field(default=0.75, ge=0)


class IalsSettings(Section):
    """Implicit alternating least squares.

    Attributes:
        rank: Length of the factors.
        unobserved: Weight of unobserved pairs against observed ones.
        regulariser: L2 penalty, multiplied by (interactions + unobserved weight) of the row.
        iterations: Alternations.
    """

    rank: int = Field(default=64, ge=1)
    unobserved: float = Field(default=0.1, gt=0)
    regulariser: float = Field(default=0.03, gt=0)
    iterations: int = Field(default=8, ge=1)


class GraphSettings(Section):
    """Graph filter over the normalised user-item graph.

    Attributes:
        rank: Rank of the ideal low-pass part.
        low_pass: Weight of the ideal low-pass part against the linear filter.
        item_exponent: Exponent of the items' degrees in the normalisation.
        output_exponent: Exponent of the items' degrees in the output; above 0 favours popular items.
    """

    rank: int = Field(default=32, ge=1)
    low_pass: float = Field(default=1.0, ge=0)
    item_exponent: float = Field(default=0.4, ge=0)
    output_exponent: float = Field(default=0.25, ge=0)


class KnnSettings(Section):
    """Item kNN, which no search chooses: it is what a ranker consists of that stands in for the baseline `item_knn`.

    Attributes:
        num_neighbors: Neighbours kept for each item.
        shrinkage: Users added to the denominator of the cosine, against chance.
    """

    num_neighbors: int = Field(default=100, ge=1)
    shrinkage: float = Field(default=10.0, ge=0)


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
        content_ease: Settings of EASE with content.
        ridge: Settings of ridge.
        ials: Settings of implicit ALS.
        graph_filter: Settings of the graph filter.
        item_knn: Settings of item kNN.
        content_weights: Weight of each content block in the Gram matrix; 1 where not named.
        popularity: Settings of popularity and demographics.
        cold_items: Settings of items without interactions.
        use_content: False fits without any item content.
        exclude_content: Content blocks to leave out.
        max_dense_items: See TrainingConfig.
        user_block: See TrainingConfig.
        max_groups: See TrainingConfig.
        min_group_users: See TrainingConfig.
    """

    seed: int = 0
    weight_exponent: float = Field(default=0.0, ge=0)
    fusion: dict[str, float] = Field(default_factory=_equal_weights)
    dim: int = Field(default=64, ge=1)
    content_ease: EaseSettings = EaseSettings()
    ridge: EaseSettings = EaseSettings(diagonal_exponent=0.0)
    ials: IalsSettings = IalsSettings()
    graph_filter: GraphSettings = GraphSettings()
    item_knn: KnnSettings = KnnSettings()
    content_weights: dict[str, float] = Field(default_factory=dict)
    popularity: PopularitySettings = PopularitySettings()
    cold_items: ColdItemSettings = ColdItemSettings()
    use_content: bool = True
    exclude_content: tuple[str, ...] = ()
    max_dense_items: int = Field(default=10_000, ge=0)
    user_block: int = Field(default=1_024, ge=1)
    max_groups: int = Field(default=32, ge=0)
    min_group_users: int = Field(default=20, ge=1)
