"""Tables → what a scoring run knows of its items besides vectors: rules of what may be shown, facts for re-ranking."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pyspark.sql import DataFrame
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.features.load import SnapshotItems
from mmrec_lib.features.showing import (
    ITEM_COLUMNS,
    load_user_controls,
    soft_control_targets,
    user_attribute_values,
)
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.data import Content
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.reranking.duplicates import find_duplicate_groups, title_codes
from mmrec_lib.reranking.facts import ItemFacts, unit_rows
from mmrec_lib.showing.build import build_rules
from mmrec_lib.showing.catalogue import RuleItems
from mmrec_lib.showing.config import ShowingConfig
from mmrec_lib.showing.item_rules import ItemRules
from mmrec_lib.showing.rules_file import all_rules, user_attributes_of


@dataclass(frozen=True)
class Controls:
    """Controls of users; see `load_user_controls` and `soft_control_targets`.

    Attributes:
        of_users: user_id and controls; None where no user has one.
        soft_targets: Categories and brands that may be boosted or lessened.
    """

    of_users: DataFrame | None
    soft_targets: Mapping[str, Sequence[str]]


def load_controls(lakehouse: Lakehouse, config: ShowingConfig) -> Controls:
    """Read what users set."""
    soft = soft_control_targets(lakehouse, config.max_control_dimensions)
    return Controls(load_user_controls(lakehouse, soft), soft)


def item_columns(showing: ShowingConfig, reranking: RerankingConfig, controls: Controls) -> tuple[str, ...]:
    """Columns of items that a run looks at; none without rules, markets, age limits, controls and re-ranking."""
    limits = all_rules(showing).rules or showing.market_attribute or showing.age_rating_attribute
    columns = ITEM_COLUMNS if limits or controls.of_users is not None or reranking.is_on else ()
    compares_titles = reranking.duplicates is not None and reranking.duplicates.same_title
    return (*columns, "title") if compares_titles else columns


def load_rules(
    items: SnapshotItems, profiles: DataFrame, controls: Controls, config: ShowingConfig
) -> tuple[ItemRules, DataFrame]:
    """Rules of the run's day, and the profiles with a column `controls` where any user has some.

    Args:
        items: The catalogue with `item_columns`.
        profiles: Profiles of all users.
        controls: What users set.
        config: Rules.

    Raises:
        ShowingError: When rules are wrong, contradict each other or remove too much.
    """
    day = items.cuts.as_of
    values = user_attribute_values(profiles, user_attributes_of(config, day))
    soft = None if controls.of_users is None else controls.soft_targets
    rules = build_rules(items.table, config, day, values, soft_controls=soft)
    return rules, profiles if controls.of_users is None else profiles.join(controls.of_users, "user_id", "left")


def item_facts(
    items: SnapshotItems,
    ranker: FittedRanker,
    load_contents: Callable[[], Mapping[str, Content]],
    config: RerankingConfig,
    brand_attribute: str,
) -> ItemFacts:
    """Facts of the items for the steps of re-ranking.

    The content space is that of the dense contents side by side, each of length 1, as far as an item has them. New
    items are those without interactions at the fit.

    Args:
        items: The catalogue with `item_columns`.
        ranker: The model.
        load_contents: Loads the contents of all its items; called only where a step compares them.
        config: The steps.
        brand_attribute: Attribute that names the brand.

    Raises:
        ModelError: When a step needs content vectors and there are none.
    """
    known = RuleItems(items.table, brand_attribute)
    brands = np.full(len(known), -1, dtype=np.int32)
    by_brand = known.brands.items.tocoo()
    brands[by_brand.col] = by_brand.row
    compares = bool(config.second_stage or config.duplicates or config.diversity)
    matrices = [content.matrix for content in load_contents().values()] if compares else []
    dense = [unit_rows(matrix) for matrix in matrices if isinstance(matrix, np.ndarray)]
    vectors = unit_rows(np.hstack(dense)) if dense else None
    if vectors is None and compares:
        raise ModelError(
            "reranking: second_stage, duplicates and diversity compare content vectors, but no item has any. Encode "
            "texts or images (embedding), or leave these steps out."
        )
    groups = None
    if config.duplicates is not None and vectors is not None:
        groups = find_duplicate_groups(
            vectors,
            config.duplicates.threshold,
            brands=brands if config.duplicates.same_brand else None,
            titles=title_codes(items.table["title"].to_pylist()) if config.duplicates.same_title else None,
            max_neighbors=config.duplicates.max_neighbors,
        )
    return ItemFacts.of(
        len(known),
        vectors=vectors,
        categories=sparse.csr_matrix(known.categories.items.T),
        brands=brands,
        is_new=~np.isin(items.item_ids, ranker.item_ids[ranker.warm]),
        duplicate_group=groups,
        category_names=tuple(known.categories.names.to_pylist()),
        brand_names=tuple(known.brands.names.to_pylist()),
    )
