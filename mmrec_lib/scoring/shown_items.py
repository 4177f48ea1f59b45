"""Tables → what a scoring run knows of its items besides vectors: rules of what may be shown, facts for re-ranking."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.features.load import SnapshotItems
from mmrec_lib.features.showing import (
    load_rule_items,
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
from mmrec_lib.showing.controls import SoftTargets
from mmrec_lib.showing.item_rules import ItemRules
from mmrec_lib.showing.pins import check_positions
from mmrec_lib.showing.rules_file import asks_items, user_attributes_of


def load_rules(
    lakehouse: Lakehouse, items: SnapshotItems, profiles: DataFrame, config: ShowingConfig, k: int
) -> tuple[ItemRules, DataFrame]:
    """Rules of the run's day, and the profiles with a column `controls` where any user has some.

    Without rules, markets, age limits and controls nothing is read for them.

    Args:
        lakehouse: The store.
        items: The catalogue.
        profiles: The users.
        config: Markets, ages, segments and rules.
        k: Length of the lists.

    Raises:
        ShowingError: When rules are wrong, contradict each other, remove too much or pin items beyond the lists' end.
    """
    soft = soft_control_targets(lakehouse, config.max_control_dimensions)
    controls = load_user_controls(lakehouse, soft)
    rules = load_item_rules(lakehouse, items, profiles, config, k, None if controls is None else soft)
    return rules, profiles if controls is None else profiles.join(controls, "user_id", "left")


def load_item_rules(
    lakehouse: Lakehouse,
    items: SnapshotItems,
    users: DataFrame,
    config: ShowingConfig,
    k: int,
    soft_controls: SoftTargets | None = None,
) -> ItemRules:
    """Rules of the run's day, without the controls of users where none are given.

    Args:
        lakehouse: The store.
        items: The catalogue.
        users: The users' `attributes`.
        config: Markets, ages, segments and rules.
        k: Length of the lists.
        soft_controls: See `build_rules`.

    Raises:
        ShowingError: When rules are wrong, contradict each other, remove too much or pin items beyond the lists' end.
    """
    day, ids = items.cuts.as_of, pa.array(items.item_ids, type=pa.string())
    if asks_items(config) or soft_controls is not None:
        table = load_rule_items(lakehouse, ids)
    else:
        table = pa.table({"item_id": ids, "available": pa.array(items.is_available)})
    values = user_attribute_values(users, user_attributes_of(config, day))
    rules = build_rules(table, config, day, values, soft_controls=soft_controls)
    check_positions(rules.pins, k)
    return rules


def load_item_facts(
    lakehouse: Lakehouse,
    items: SnapshotItems,
    load_space: Callable[[], npt.NDArray[np.float32] | None],
    config: RerankingConfig,
    brand_attribute: str,
) -> ItemFacts:
    """Facts of the items for the steps of re-ranking; none is new, see `new_items`.

    Args:
        lakehouse: The store.
        items: The catalogue.
        load_space: Loads the items' vectors, see `content_space`; called only where a step compares them.
        config: Steps of re-ranking.
        brand_attribute: Attribute that names the brand.

    Raises:
        ModelError: When a step needs content vectors and there are none.
    """
    ids = pa.array(items.item_ids, type=pa.string())
    known = RuleItems(load_rule_items(lakehouse, ids), brand_attribute)
    brands = np.full(len(ids), -1, dtype=np.int32)
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
            titles=title_codes(_titles(lakehouse, ids)) if config.duplicates.same_title else None,
            max_neighbors=config.duplicates.max_neighbors,
        )
    return ItemFacts.of(
        len(ids),
        vectors=vectors,
        categories=sparse.csr_matrix(known.categories.items.T),
        brands=brands,
        duplicate_group=groups,
        category_names=tuple(known.categories.names.to_pylist()),
        brand_names=tuple(known.brands.names.to_pylist()),
    )


def content_space(contents: Mapping[str, Content]) -> npt.NDArray[np.float32] | None:
    """[I, d] dense contents side by side, each of length 1 as far as an item has it; None where there are none."""
    matrices = [content.matrix for content in contents.values()]
    dense = [unit_rows(matrix) for matrix in matrices if isinstance(matrix, np.ndarray)]
    return unit_rows(np.hstack(dense)) if dense else None


def new_items(item_ids: npt.NDArray[np.str_], ranker: FittedRanker) -> npt.NDArray[np.bool_]:
    """[I] items without interactions at the fit of a ranker."""
    return ~np.isin(item_ids, ranker.item_ids[ranker.warm])


def _titles(lakehouse: Lakehouse, ids: pa.Array) -> list[str | None]:
    rows = lakehouse.read("item").select("item_id", F.col("title")).collect()
    titles = {row["item_id"]: row["title"] for row in rows}
    return [titles.get(item) for item in ids.to_pylist()]
