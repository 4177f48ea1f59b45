"""From vectors to the best items: exact top-k selection and search.

Each name is imported when it is first used: a model that travels with its code needs `select_top` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmrec_lib.topk.exact import exact_top as exact_top
    from mmrec_lib.topk.exact import nearest as nearest
    from mmrec_lib.topk.exact import search as search
    from mmrec_lib.topk.items import PreparedItems as PreparedItems
    from mmrec_lib.topk.items import prepare_items as prepare_items
    from mmrec_lib.topk.merging import merge_lists as merge_lists
    from mmrec_lib.topk.selection import TopItems as TopItems
    from mmrec_lib.topk.selection import select_top as select_top

_PUBLIC = {
    "PreparedItems": "items",
    "TopItems": "selection",
    "exact_top": "exact",
    "merge_lists": "merging",
    "nearest": "exact",
    "prepare_items": "items",
    "search": "exact",
    "select_top": "selection",
}
__all__ = [*_PUBLIC]  # noqa: PLE0604 the names of the table above


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"{__name__} has {', '.join(_PUBLIC)}, not {name}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
