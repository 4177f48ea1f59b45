"""Counts of pairs → lists by item, made over partitions."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema
from scipy import sparse

from mmrec_lib.features.load import SnapshotItems, load_fit_contents
from mmrec_lib.lakehouse.actions import union
from mmrec_lib.lakehouse.arrow_tables import whole_table
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.list_types.pairs import basket_pairs, named_pairs, transition_pairs
from mmrec_lib.listing.config import BOUGHT_TOGETHER, CONTINUE_WITH, ContinueWithConfig, ListsConfig
from mmrec_lib.listing.items import ListingItems, Margins, compared_contents
from mmrec_lib.listing.related import next_parts, related_lists
from mmrec_lib.listing.selection import LISTS
from mmrec_lib.location import filesystem_of, is_uri
from mmrec_lib.showing.attributes import numbers, one_array
from mmrec_lib.showing.catalogue import RuleItems
from mmrec_lib.showing.item_rules import ItemRules

LISTS_IN_SPARK = from_arrow_schema(LISTS)


def item_lists(
    lakehouse: Lakehouse,
    items: SnapshotItems,
    known: RuleItems,
    rules: ItemRules,
    events: DataFrame,
    types: dict[str, list[str]],
    config: ListsConfig,
) -> DataFrame | None:
    """Lists of items for the types that are on, rows of `selection.LISTS`; None where none is.

    Pairs are counted by Spark and scored by its workers: the driver holds counts of single items.

    Args:
        lakehouse: Tables.
        items: The catalogue.
        known: Its categories and attributes.
        rules: What may be shown.
        events: See `events.list_events`; staged.
        types: Event types by list type.
        config: Settings.
    """
    counted = []
    if config.bought_together is not None:
        own = events.where(F.col("event_type").isin(types[BOUGHT_TOGETHER]))
        counted.append(basket_pairs(own, config.bought_together))
    if config.continue_with is not None:
        own = events.where(F.col("event_type").isin(types[CONTINUE_WITH]))
        counted.append(transition_pairs(own, config.continue_with))
    if not counted:
        return None
    counts = lakehouse.stage("pair_count", union(counted))
    names = [name for name in (BOUGHT_TOGETHER, CONTINUE_WITH) if name in config.types]
    single = to_arrow(lakehouse, "item_count", counts.where(F.col("related_item_id").isNull()))
    contents: tuple[NDArray[np.float16], ...] = ()
    if config.bought_together is not None and config.bought_together.substitute_similarity is not None:
        contents = compared_contents(c.matrix for c in load_fit_contents(lakehouse, items, "fit3").values())
    listing = ListingItems(
        item_ids=rules.item_ids,
        is_listed=rules.is_listed,
        categories=sparse.csr_matrix(known.categories.items.T),
        contents=contents,
        margins={name: margins_of(single, name, rules.item_ids) for name in names},
    )
    pairs = [counts.where(F.col("related_item_id").isNotNull())]
    if config.continue_with is not None:
        pairs += _named_by_the_catalogue(lakehouse, known, config.continue_with)
    uri = lakehouse.staging_path("listing_items")
    with tempfile.TemporaryDirectory() as scratch:
        listing.save(Path(scratch))
        fs, root = filesystem_of(uri)
        fs.create_dir(root)
        pyarrow.fs.copy_files(scratch, root, destination_filesystem=fs)
    num_tasks = -(-len(items.item_ids) // config.items_per_task)

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        # An item's pairs may come in several batches, and its list needs them all.
        own_pairs = [batch for batch in batches if batch.num_rows]
        if own_pairs:
            yield from related_lists(pa.Table.from_batches(own_pairs), _load(uri), config)

    return union(pairs).repartition(num_tasks, "item_id").mapInArrow(work, LISTS_IN_SPARK)


def to_arrow(lakehouse: Lakehouse, name: str, rows: DataFrame) -> pa.Table:
    """Rows in this process, where they are bounded by the catalogue."""
    return whole_table(lakehouse.stream_arrow(name, rows.coalesce(1)), rows.schema)


def margins_of(single: pa.Table, list_type: str, item_ids: pa.Array) -> Margins:
    """Counts of single items as arrays.

    Args:
        single: list_type, item_id (null for all cases), num_pairs, num_reversed.
        list_type: Type to pick.
        item_ids: [I] the catalogue.
    """
    own = single.filter(pc.equal(single["list_type"], list_type))
    at = pc.index_in(one_array(own["item_id"]), value_set=item_ids)
    is_item = at.is_valid().to_numpy(zero_copy_only=False)
    places = at.drop_null().to_numpy(zero_copy_only=False).astype(np.int64)
    counts = [own[name].to_numpy().astype(np.int64) for name in ("num_pairs", "num_reversed")]
    is_total = own["item_id"].is_null().to_numpy()
    of_items = np.zeros((2, len(item_ids)), dtype=np.int64)
    for row, column in zip(of_items, counts, strict=True):
        row[places] = column[is_item]
    return Margins(of_items[0], of_items[1], int(counts[0][is_total].sum()))


def _named_by_the_catalogue(lakehouse: Lakehouse, known: RuleItems, config: ContinueWithConfig) -> Sequence[DataFrame]:
    """Frames of pairs that series and graph name; none where they name none."""
    found = []
    attributes = known.attributes
    left, right = next_parts(
        attributes.values(config.series_attribute), numbers(attributes.values(config.part_attribute))
    )
    if len(left):
        columns = {"item_id": known.item_ids.take(left), "related_item_id": known.item_ids.take(right)}
        found.append(named_pairs(lakehouse.spark.createDataFrame(pa.table(columns))))
    if config.relations:
        edges = lakehouse.read("graph_edge").where(F.col("relation").isin(*config.relations))
        found.append(named_pairs(edges.select(F.col("head").alias("item_id"), F.col("tail").alias("related_item_id"))))
    return found


@lru_cache(maxsize=1)
def _load(uri: str) -> ListingItems:
    """The staged items, read once a worker process; from other than local disks they are copied first."""
    local = Path(tempfile.mkdtemp(prefix="mmrec-listing-")) if is_uri(uri) else Path(uri)
    if is_uri(uri):
        pyarrow.fs.copy_files(uri, str(local))
    return ListingItems.load(local)
