"""Lists for single requests: metrics of each request, a user's mean over them, and rows of a segment of their own.

Shape letters: R requests, n users, I items, K places of a list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.evaluation.groups import GROUP_METRICS
from mmrec_lib.evaluation.metrics import list_metrics
from mmrec_lib.evaluation.rankings import H, Scorer
from mmrec_lib.evaluation.rows import metric_of
from mmrec_lib.evaluation.segments import Segment, UserValues
from mmrec_lib.topk.selection import select_top

REQUESTS = Segment("requests", "warm", False, False, "Requests, with their context")
"""Segment of the rows: users with history, each with the mean of their requests."""
WITHOUT_CONTEXT = "without_context"
"""The ranker where nothing is known of the request: the lists that are published; no baseline."""


def top_lists(model: Scorer[H], histories: H, seen: sparse.csr_matrix, length: int, *, block: int) -> NDArray[np.int32]:
    """The best unseen items of each row of histories, [n, length], -1 where a list ends early.

    Args:
        model: Scores them.
        histories: What the model may know, n rows.
        seen: [n, I]; every stored entry is masked.
        length: Places of a list.
        block: Rows scored at once.

    Raises:
        ModelError: When scores have the wrong shape or are no numbers.
    """
    num_rows, num_items = seen.shape
    lists = [np.zeros((0, length), np.int32)]
    for start in range(0, num_rows, block):
        rows = np.arange(start, min(start + block, num_rows))
        hidden = seen[rows]
        # A copy, because a model may hand out an array of its own.
        scores = np.array(model.score(histories.rows(rows)), dtype=np.float32, order="C")
        if scores.shape != (rows.size, num_items):
            raise ModelError(f"requests: scores must be {(rows.size, num_items)}, got {scores.shape}")
        scores[np.repeat(np.arange(rows.size), np.diff(hidden.indptr)), hidden.indices] = -np.inf
        lists.append(select_top(scores, length).indices)
    return np.concatenate(lists)


def request_values(
    lists: Mapping[str, NDArray[np.int32]], users: NDArray[np.integer], relevant: sparse.csr_matrix, ks: Sequence[int]
) -> UserValues:
    """Values by user of the segment `requests`: each user counts once, with the mean of the requests.

    Args:
        lists: By model: [R, at least max(ks)] item indices, best first, -1 where a list ends early.
        users: [R] who made each request.
        relevant: [R, I]; every stored entry is an item that the user turned to at the request.
        ks: Cut-offs.

    Raises:
        ModelError: When lists are shorter than a cut-off, or the numbers of requests differ.

    Example:
        The first of two users finds the item of one request of two, the other one that of the only request.

        >>> relevant = sparse.csr_matrix(([1, 1, 1], ([0, 1, 2], [3, 4, 3])), shape=(3, 5))
        >>> lists = {"ranker": np.array([[3], [3], [3]], dtype=np.int32)}
        >>> request_values(lists, np.array([7, 7, 9]), relevant, (1,)).values["ranker"]["ndcg@1"].tolist()
        [0.5, 1.0]
    """
    if len(users) != relevant.shape[0]:
        raise ModelError(f"requests: users must be {relevant.shape[0]}, one a request, got {len(users)}")
    own, row, counts = np.unique(np.asarray(users, dtype=np.intp), return_inverse=True, return_counts=True)
    values = {
        model: {
            name: np.bincount(row, of_requests, own.size) / counts
            for name, of_requests in list_metrics(top, relevant, ks).items()
            if metric_of(name) in GROUP_METRICS
        }
        for model, top in lists.items()
    }
    return UserValues(REQUESTS, own, values, {})
