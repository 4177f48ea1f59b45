"""Facts of users as Arrow columns → their segments and texts.

Shape letters: n users, e entries of all their lists.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmrec_lib.showing.attributes import rows_and_entries
from mmrec_lib.tastes.segments import NO_SEGMENT, Segments, fit_segments, shares_of_names
from mmrec_lib.tastes.sentences import TasteFacts, taste_text

# Categories that segments look at, those that weigh most.
_MAX_CATEGORIES = 200


def fit_to_lists(lists: pa.ListArray, max_segments: int) -> Segments:
    """Segments of users.

    Args:
        lists: [n] name and share of the categories of each user; null where none is known.
        max_segments: Most segments.
    """
    rows, names, shares = _entries(lists)
    categories = _main_categories(names, shares)
    return fit_segments(shares_of_names(rows, names, shares, len(lists), categories), categories, max_segments)


def segments_of(lists: pa.ListArray, segments: Segments) -> pa.StringArray:
    """[n] name of each user's segment; null where none of the categories is known.

    Args:
        lists: See `fit_to_lists`.
        segments: What to assign.
    """
    rows, names, shares = _entries(lists)
    labels = segments.assign(shares_of_names(rows, names, shares, len(lists), segments.categories))
    return pa.array(segments.names, pa.string()).take(pa.array(labels, mask=labels == NO_SEGMENT))


def taste_texts(profiles: pa.RecordBatch) -> pa.StringArray:
    """[n] `sentences.taste_text` of each user.

    Args:
        profiles: history, top_categories, top_brands, price_quartiles, num_ratings, mean_rating.
    """
    num_items = profiles["history"].value_lengths().fill_null(0).to_pylist()
    names = ("top_categories", "top_brands", "price_quartiles", "num_ratings", "mean_rating")
    columns = [profiles[name].to_pylist() for name in names]
    texts = [
        taste_text(
            TasteFacts(
                num_items=items,
                categories=[(entry["name"], entry["share"]) for entry in categories or ()],
                brands=[(entry["name"], entry["share"]) for entry in brands or ()],
                prices=(prices[0], prices[1]) if prices else None,
                num_ratings=num_ratings or 0,
                mean_rating=mean_rating,
            )
        )
        for items, categories, brands, prices, num_ratings, mean_rating in zip(num_items, *columns, strict=True)
    ]
    return pa.array(texts, pa.string())


def _entries(lists: pa.ListArray) -> tuple[npt.NDArray[np.int64], pa.Array, npt.NDArray[np.float64]]:
    """User, name and share of each entry."""
    rows, entries = rows_and_entries(lists)
    values = lists.values.take(entries)
    return rows, values.field("name"), values.field("share").to_numpy(zero_copy_only=False)


def _main_categories(names: pa.Array, shares: npt.NDArray[np.float64]) -> tuple[str, ...]:
    """The categories with the largest sums of shares, sorted by name."""
    encoded = names.dictionary_encode()
    known = np.array(encoded.dictionary.to_pylist(), dtype=np.object_)
    # Rounded, so that the order of addition decides no tie.
    sums = np.round(np.bincount(encoded.indices.to_numpy(), shares, len(known)), 6)
    order = np.lexsort((known.astype(np.str_), -sums))[:_MAX_CATEGORIES]
    return tuple(sorted(known[order]))
