"""Exact top-k by blocked matrix products: memory is bounded by the block sizes, never by users times items."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mmrec_lib.topk.items import PreparedItems, UserBatch, check_users, checked_vectors, prepare_items
from mmrec_lib.topk.numpy_search import ITEM_BLOCK, USER_BLOCK, search_with_numpy
from mmrec_lib.topk.selection import TopItems

# Loading the kernels takes 0.7 seconds, or 6 where no process of this machine has compiled them yet; numpy takes about
# 10 nanoseconds a pair more. Once they are loaded, a call costs a few milliseconds.
_PAIRS_WORTH_LOADING = 200_000_000
_PAIRS_WORTH_CALLING = 500_000
# Ordering and rounding the items costs about as much as searching for so many users with numpy.
_USERS_WORTH_PREPARING = 256
_KERNELS = "mmrec_lib.topk.kernels"


@dataclass
class _Work:
    """Pairs that this process searched with numpy, in all calls."""

    pairs: int = 0


_work = _Work()


def exact_top(
    user_vectors: NDArray[np.float32],
    item_vectors: NDArray[np.float32],
    k: int,
    *,
    seen: sparse.csr_matrix | None = None,
    unavailable: NDArray[np.bool_] | None = None,
    allowed: NDArray[np.bool_] | None = None,
    group_of_user: NDArray[np.integer] | None = None,
    user_block: int = USER_BLOCK,
    item_block: int = ITEM_BLOCK,
    num_threads: int | None = None,
    device: str | None = None,
) -> TopItems:
    """The k items with the largest dot product for each user, by score descending, then item index.

    A score is the dot product summed in float64 and rounded to float32, so that lists depend on the vectors alone:
    neither on other users in the call nor on block sizes, threads or the processor. Items that serve several calls are
    better prepared once: `prepare_items` and `search`.

    Args:
        user_vectors: [num_users, dim] float32.
        item_vectors: [num_items, dim] float32.
        k: Length of the lists.
        seen: [num_users, num_items]; every stored entry is an item that must not be listed for that user.
        unavailable: [num_items] True for items that nobody must get.
        allowed: [num_groups, num_items] True for items that users of a group may get, such as those of a market.
        group_of_user: [num_users] row of `allowed`, or -1 for users without limits; all users where not given.
        user_block: Users multiplied at once.
        item_block: Items multiplied at once where plain numpy searches; a block of scores takes
            4 * user_block * item_block bytes.
        num_threads: Threads of large searches; as many as BLAS would use where not given.
        device: A device of torch to search on, such as cuda.

    Returns:
        Lists [num_users, k]; index -1 and score -inf where a user has fewer than k candidates.

    Raises:
        ModelError: When shapes do not fit, k is below 1, a vector is not finite, scores may exceed float32 or a group
            is unknown.

    Example:
        The user saw item 0, which would be the best.

        >>> user = np.array([[1, 0]], dtype=np.float32)
        >>> items = np.array([[3, 0], [1, 5], [2, 0]], dtype=np.float32)
        >>> exact_top(user, items, k=2, seen=sparse.csr_matrix([[1, 0, 0]])).indices.tolist()
        [[2, 1]]
    """
    items = prepare_items(item_vectors, unavailable=unavailable, allowed=allowed)
    return search(
        items,
        user_vectors,
        k,
        seen=seen,
        group_of_user=group_of_user,
        user_block=user_block,
        item_block=item_block,
        num_threads=num_threads,
        device=device,
    )


def search(
    items: PreparedItems,
    user_vectors: NDArray[np.float32],
    k: int,
    *,
    seen: sparse.csr_matrix | None = None,
    group_of_user: NDArray[np.integer] | None = None,
    user_block: int = USER_BLOCK,
    item_block: int = ITEM_BLOCK,
    num_threads: int | None = None,
    device: str | None = None,
) -> TopItems:
    """Search prepared items; see `exact_top`.

    Large searches run in compiled kernels, small ones in numpy; the lists are the same.
    """
    users = check_users(items, user_vectors, k, seen, group_of_user)
    if device is not None:
        from mmrec_lib.topk.torch_search import search_on_device

        return search_on_device(items, users, device)
    if not _is_worth_compiling(items, users):
        return search_with_numpy(items, users, user_block=user_block, item_block=item_block)
    from mmrec_lib.topk.compiled_search import search_compiled

    return search_compiled(items, users, user_block=user_block, num_threads=num_threads)


def nearest(
    item_vectors: NDArray[np.float32],
    k: int,
    *,
    unavailable: NDArray[np.bool_] | None = None,
    rows: slice | None = None,
    user_block: int = USER_BLOCK,
    item_block: int = ITEM_BLOCK,
) -> TopItems:
    """The k most similar other items of each item, by cosine, most similar first.

    Args:
        item_vectors: [num_items, dim] float32. An all-zero vector is like nothing: its own list is empty and it is in
            no other list.
        k: Length of the lists.
        unavailable: [num_items] True for items that must not be a neighbour; they still get a list of their own.
        rows: The items that get a list; all where not given.
        user_block: Items whose lists are made at once.
        item_block: Candidates compared at once.

    Returns:
        Lists [num_items, k], or one of each of `rows`; index -1 and score -inf where there are fewer neighbours.

    Raises:
        ModelError: When k is below 1, a shape does not fit or a vector is not finite.

    Example:
        Cosines: length does not matter, and an item is not its own neighbour.

        >>> items = np.array([[1, 0], [9, 0], [0, 1]], dtype=np.float32)
        >>> nearest(items, k=1).indices.tolist()
        [[1], [0], [0]]
    """
    items, lengths = checked_vectors(item_vectors, "item vectors")
    is_zero = lengths == 0
    unit = (items / np.where(is_zero, 1.0, lengths)[:, None]).astype(np.float32)
    num_items = items.shape[0]
    start, stop, _ = (rows or slice(None)).indices(num_items)
    num_rows = stop - start
    itself = sparse.csr_matrix(
        (np.ones(num_rows, dtype=np.bool_), np.arange(start, stop), np.arange(num_rows + 1)),
        shape=(num_rows, num_items),
    )
    hidden = is_zero if unavailable is None else is_zero | unavailable
    own = unit[start:stop]
    top = exact_top(own, unit, k, seen=itself, unavailable=hidden, user_block=user_block, item_block=item_block)
    top.indices[is_zero[start:stop]] = -1
    top.scores[is_zero[start:stop]] = -np.inf
    # Rounding may lift a cosine a little above 1.
    np.clip(top.scores, None, 1.0, out=top.scores)
    return top


def _is_worth_compiling(items: PreparedItems, users: UserBatch) -> bool:
    pairs = len(users) * items.num_items
    items.history.num_users += len(users)
    if items.history.num_users < _USERS_WORTH_PREPARING:
        return False
    if _KERNELS in sys.modules:
        return pairs >= _PAIRS_WORTH_CALLING
    _work.pairs += pairs
    return _work.pairs >= _PAIRS_WORTH_LOADING
