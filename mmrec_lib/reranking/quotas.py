"""Quotas as labels of items: each category, brand or set of new items that a quota counts is one label."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.reranking.config import QuotaConfig
from mmrec_lib.reranking.facts import ItemFacts
from mmrec_lib.reranking.greedy_kernels import Quotas

_WHOLE_LIST = np.iinfo(np.int32).max


def label_items(quotas: Sequence[QuotaConfig], items: ItemFacts, *, fill: bool) -> Quotas:
    """Labels of all items and the limits of each label.

    Args:
        quotas: The limits; one without a name is a label for each category or brand.
        items: Facts of the items.
        fill: See `RerankingConfig.fill`.

    Raises:
        ModelError: When a quota names a category or brand that no item has, or no item has any.
    """
    members = [_members(quota, items) for quota in quotas]
    sizes = [matrix.shape[1] for matrix in members]
    joined = sparse.hstack([sparse.csr_matrix((items.num_items, 0)), *members], format="csr")
    caps = [_WHOLE_LIST if quota.at_most is None else quota.at_most for quota in quotas]
    floors = np.repeat(np.array([quota.at_least or 0 for quota in quotas], np.int32), sizes)
    windows = [quota.first or _WHOLE_LIST for quota in quotas]
    return Quotas(
        starts=joined.indptr.astype(np.int64),
        labels=joined.indices.astype(np.int32),
        caps=np.repeat(np.array(caps, np.int32), sizes),
        floors=floors,
        windows=np.repeat(np.array(windows, np.int32), sizes),
        floor_labels=np.flatnonzero(floors).astype(np.int32),
        fill=fill,
    )


def _members(quota: QuotaConfig, items: ItemFacts) -> sparse.csr_matrix:
    """[I, labels] items that each label of a quota counts."""
    if quota.by == "new":
        return sparse.csr_matrix(items.is_new[:, None].astype(np.float32))
    if quota.by == "category":
        names, matrix = items.category_names, items.categories
    else:
        names, matrix = items.brand_names, _brands(items)
    if matrix.nnz == 0:
        raise ModelError(f"quota by {quota.by}: no item has a {quota.by}; remove the quota or provide it")
    if quota.name is None:
        return matrix
    if quota.name not in names:
        near = difflib.get_close_matches(quota.name, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ModelError(f"quota by {quota.by}: no item has the {quota.by} {quota.name!r}{hint}")
    return matrix[:, [names.index(quota.name)]]


def _brands(items: ItemFacts) -> sparse.csr_matrix:
    known = np.flatnonzero(items.brands >= 0)
    ones = np.ones(known.size, np.float32)
    return sparse.csr_matrix((ones, (known, items.brands[known])), shape=(items.num_items, len(items.brand_names)))
