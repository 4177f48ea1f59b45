"""From vectors to the best items: exact top-k selection and search."""

from mmrec_lib.topk.exact import exact_top, nearest
from mmrec_lib.topk.selection import TopItems, select_top

__all__ = ["TopItems", "exact_top", "nearest", "select_top"]
