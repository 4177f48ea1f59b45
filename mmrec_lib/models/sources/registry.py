"""The sources that a ranker may consist of, by name. A new source is a module of its own and one line here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mmrec_lib.errors import ModelError
from mmrec_lib.models.sources.base import Source
from mmrec_lib.models.sources.content_ease import ContentEase
from mmrec_lib.models.sources.graph_filter import GraphFilter
from mmrec_lib.models.sources.ials import Ials
from mmrec_lib.models.sources.item_knn import ItemKnn
from mmrec_lib.models.sources.ridge import Ridge

SOURCES: dict[str, type[Source[Any]]] = {
    ContentEase.name: ContentEase,
    Ridge.name: Ridge,
    Ials.name: Ials,
    GraphFilter.name: GraphFilter,
    ItemKnn.name: ItemKnn,
}
"""Classes of sources by name, in the order in which they are searched, fitted and saved."""

FALLBACK: type[Source[Any]] = Ials
"""Source of a catalogue that is too large for every source that the config names; it is possible for any."""


def searched_names() -> tuple[str, ...]:
    """Names of the sources that a search chooses among: the default of `training.sources`."""
    return tuple(name for name, source in SOURCES.items() if source.is_searched)


def possible_sources(names: Iterable[str], num_items: int, max_dense_items: int) -> tuple[str, ...]:
    """Those of the sources that can be fitted on that many items with interactions; the fallback where none can."""
    possible = tuple(name for name in names if source_type(name).is_possible(num_items, max_dense_items))
    return possible or (FALLBACK.name,)


def source_type(name: str) -> type[Source[Any]]:
    """The class of a source.

    Raises:
        ModelError: When no source of this name is registered.
    """
    if name not in SOURCES:
        raise ModelError(f"source {name}: must be one of {', '.join(SOURCES)}; register it in models/sources/registry")
    return SOURCES[name]
