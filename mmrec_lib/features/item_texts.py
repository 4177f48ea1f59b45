"""Texts of the items of a snapshot, which a scorer reads."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.embedding.owner_text import documents, single_texts, texts_of_fields
from mmrec_lib.errors import NoDataError
from mmrec_lib.features.load import sorted_table
from mmrec_lib.generation.candidate_texts import ItemTexts
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.recipes.scorer_config import ScorerConfig


def items_with_texts(
    lakehouse: Lakehouse, items: DataFrame, config: ScorerConfig, *, for_searches: bool = False
) -> DataFrame:
    """The items of a snapshot as `training_item` has them: item_id, title and document.

    Args:
        lakehouse: The store.
        items: Table item.
        config: A scorer reads the texts; without one both are null.
        for_searches: They are read for the words of searches too.
    """
    ids = items.select("item_id")
    if config.model is None and not for_searches:
        nothing = F.lit(None).cast("string")
        return ids.withColumn("title", nothing).withColumn("document", nothing)
    texts = texts_of_fields(lakehouse, config.fields, "scorer.fields").where(F.col("owner_kind") == "item")
    titles = single_texts(texts, config.fields).withColumnRenamed("document", "title")
    both = titles.join(documents(texts, config.fields), ["owner_kind", "owner_id"])
    of_items = both.select(F.col("owner_id").alias("item_id"), "title", "document")
    return lakehouse.stage("training_item", ids.join(of_items, "item_id", "left"))


def load_item_texts(lakehouse: Lakehouse, snapshot_id: str, item_ids: npt.NDArray[np.str_]) -> ItemTexts:
    """Texts of items of a snapshot, in the order of `item_ids`.

    Raises:
        NoDataError: When the snapshot has none: it was made without a scorer.
    """
    rows = lakehouse.read("training_item").where((F.col("snapshot_id") == snapshot_id) & F.col("document").isNotNull())
    table = sorted_table(lakehouse, "item_id", rows.select("item_id", "title", "document"))
    if not len(table):
        raise NoDataError(
            f"scorer: snapshot {snapshot_id} has no texts of items. Run assemble_snapshot with scorer.model, and "
            "check scorer.fields."
        )
    columns = (np.array(table[name].to_pylist(), dtype=np.object_) for name in ("title", "document"))
    return ItemTexts(*columns).of_items(np.array(table["item_id"].to_pylist(), dtype=np.str_), item_ids)
