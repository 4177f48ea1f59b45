"""Groups of near-duplicates are those that comparing all pairs finds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from mmrec_lib.errors import ModelError
from mmrec_lib.reranking.duplicates import find_duplicate_groups, title_codes


def by_all_pairs(vectors: np.ndarray, threshold: float, brands: np.ndarray, titles: np.ndarray) -> list[set[int]]:
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    unit = vectors / np.where(lengths == 0, 1, lengths)[:, None]
    linked = (unit @ unit.T >= threshold - 1e-6) & (brands[:, None] == brands) & (titles[:, None] == titles)
    _, component = connected_components(sparse.csr_matrix(linked), directed=False)
    groups = [set(np.flatnonzero(component == c).tolist()) for c in np.unique(component)]
    return sorted((g for g in groups if len(g) > 1), key=min)


@pytest.mark.parametrize("seed", range(60))
def test_groups_are_those_of_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_items = int(rng.choice([1, 2, 30, 120]))
    centres = rng.normal(size=(6, 5))
    vectors = centres[rng.integers(0, 6, num_items)] + rng.choice([0.0, 0.05, 0.3]) * rng.normal(size=(num_items, 5))
    vectors[rng.random(num_items) < 0.1] = 0
    brands, titles = rng.integers(-1, int(rng.choice([0, 2])), num_items), rng.integers(-1, 1, num_items)
    vectors = (vectors * rng.uniform(0.1, 9, (num_items, 1))).astype(np.float32)
    found = find_duplicate_groups(vectors, 0.97, brands=brands, titles=titles, block=int(rng.choice([7, 1000])))
    expected = by_all_pairs(vectors, 0.97, brands, titles)
    assert [set(np.flatnonzero(found == n).tolist()) for n in range(found.max(initial=-1) + 1)] == expected


def test_thousands_of_equal_items_are_one_group_for_each_brand() -> None:
    brands = np.arange(5000) % 2
    found = find_duplicate_groups(np.ones((5000, 3), np.float32), 1.0, brands=brands, max_neighbors=1)
    assert found.tolist() == brands.tolist()


def test_titles_differ_by_more_than_size_or_colour_in_brackets() -> None:
    titles = ["Shirt, red", "shirt (blue) XL", "Shirt 42", "Skirt", "42", "43", None, ""]
    assert title_codes(titles).tolist() == [0, 0, 0, 1, 2, 3, -1, -1]


@pytest.mark.parametrize("threshold", [0.0, 1.5, float("nan")])
def test_an_impossible_threshold_is_refused(threshold: float) -> None:
    with pytest.raises(ModelError, match="threshold"):
        find_duplicate_groups(np.ones((2, 2), np.float32), threshold)


def test_codes_of_another_length_are_refused() -> None:
    with pytest.raises(ModelError, match="brands"):
        find_duplicate_groups(np.ones((2, 2), np.float32), 0.9, brands=np.zeros(3, np.int64))
