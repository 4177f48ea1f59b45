"""Tables → what a scoring run knows of its items besides vectors: rules of what may be shown, facts for re-ranking."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
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
from mmrec_lib.models.sources.content import ALIGNED, modality_of
from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.reranking.duplicates import find_duplicate_groups, title_codes
from mmrec_lib.reranking.facts import ItemFacts, unit_rows
from mmrec_lib.showing.build import build_rules
from mmrec_lib.showing.catalogue import RuleItems
from mmrec_lib.showing.config import ShowingConfig
from mmrec_lib.showing.controls import SoftTargets
from mmrec_lib.showing.item_rules import ItemRules
from mmrec_lib.showing.pins import check_positions
from mmrec_lib.showing.rules_file import asks_items, user_attributes_of


@dataclass(frozen=True)
class Controls:
    """Controls of users; see `load_user_controls` and `soft_control_targets`.

    Attributes:
        of_users: user_id and controls; None where no user has one.
        soft_targets: Categories and brands that may be boosted or lessened.
    """

    of_users: DataFrame | None
    soft_targets: Mapping[str, Sequence[str]]


NO_CONTROLS = Controls(None, {})


def load_controls(lakehouse: Lakehouse, config: ShowingConfig) -> Controls:
    """Read what users set."""
    soft = soft_control_targets(lakehouse, config.max_control_dimensions)
    return Controls(load_user_controls(lakehouse, soft), soft)


def item_columns(showing: ShowingConfig, reranking: RerankingConfig, controls: Controls) -> tuple[str, ...]:
    """Columns of items that a run looks at; none without rules, markets, age limits, controls and re-ranking."""
    is_asked = asks_items(showing) or controls.of_users is not None or reranking.is_on
    columns = ITEM_COLUMNS if is_asked else ()
    compares_titles = reranking.duplicates is not None and reranking.duplicates.same_title
    return (*columns, "title") if compares_titles else columns


def load_rules(
    items: SnapshotItems, profiles: DataFrame, controls: Controls, config: ShowingConfig, k: int
) -> tuple[ItemRules, DataFrame]:
    """Rules of the run's day, and the profiles with a column `controls` where any user has some.

    Args:
        items: The catalogue with `item_columns`.
        profiles: Profiles of all users.
        controls: What users set.
        config: Markets, ages, segments and rules.
        k: Length of the lists.

    Raises:
        ShowingError: When rules are wrong, contradict each other, remove too much or pin items beyond the lists' end.
    """
    soft = None if controls.of_users is None else controls.soft_targets
    rules = item_rules(items, profiles, config, k, soft)
    return rules, profiles if controls.of_users is None else profiles.join(controls.of_users, "user_id", "left")


def item_rules(
    items: SnapshotItems, users: DataFrame, config: ShowingConfig, k: int, soft_controls: SoftTargets | None = None
) -> ItemRules:
    """Rules of the run's day, without the controls of users where none are given.

    Args:
        items: The catalogue with `item_columns`.
        users: The users' `attributes`.
        config: Markets, ages, segments and rules.
        k: Length of the lists.
        soft_controls: See `build_rules`.

    Raises:
        ShowingError: When rules are wrong, contradict each other, remove too much or pin items beyond the lists' end.
    """
    day = items.cuts.as_of
    values = user_attribute_values(users, user_attributes_of(config, day))
    rules = build_rules(items.table, config, day, values, soft_controls=soft_controls)
    check_positions(rules.pins, k)
    return rules


def item_facts(
    items: SnapshotItems,
    load_space: Callable[[], npt.NDArray[np.float32] | None],
    config: RerankingConfig,
    brand_attribute: str,
) -> ItemFacts:
    """Facts of the items for the steps of re-ranking; none is new, see `new_items`.

    Args:
        items: The catalogue with `item_columns`.
        load_space: Loads the items' vectors, see `content_space`; called only where a step compares them.
        config: Steps of re-ranking.
        brand_attribute: Attribute that names the brand.

    Raises:
        ModelError: When a step needs content vectors and there are none.
    """
    known = RuleItems(items.table, brand_attribute)
    brands = np.full(len(known), -1, dtype=np.int32)
    by_brand = known.brands.items.tocoo()
    brands[by_brand.col] = by_brand.row
    compares = bool(config.second_stage or config.duplicates or config.diversity)
    vectors = load_space() if compares else None
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
        duplicate_group=groups,
        category_names=tuple(known.categories.names.to_pylist()),
        brand_names=tuple(known.brands.names.to_pylist()),
    )


def content_space(contents: Mapping[str, Content]) -> npt.NDArray[np.float32] | None:
    """[I, d] dense contents side by side, each of length 1 as far as an item has it; None where there are none.

    A joint space of these says nothing that they do not say, and is left out.
    """
    matrices = [content.matrix for name, content in contents.items() if modality_of(name) != ALIGNED]
    dense = [unit_rows(matrix) for matrix in matrices if isinstance(matrix, np.ndarray)]
    return unit_rows(np.hstack(dense)) if dense else None


def new_items(item_ids: npt.NDArray[np.str_], ranker: FittedRanker) -> npt.NDArray[np.bool_]:
    """[I] items without interactions at the fit of a ranker."""
    return ~np.isin(item_ids, ranker.item_ids[ranker.warm])
