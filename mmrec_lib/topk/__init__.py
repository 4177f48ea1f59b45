"""From vectors to the best items: exact top-k selection and search."""

from mmrec_lib.topk.exact import exact_top, nearest, search
from mmrec_lib.topk.items import PreparedItems, prepare_items
from mmrec_lib.topk.merging import merge_lists
from mmrec_lib.topk.selection import TopItems, select_top

__all__ = [
    "PreparedItems",
    "TopItems",
    "exact_top",
    "merge_lists",
    "nearest",
    "prepare_items",
    "search",
    "select_top",
]
