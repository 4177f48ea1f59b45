"""Vectors of a graph: what only several hops tell is found, and what nothing is known of is zero."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from mmrec_lib.features.graph import item_vectors
from mmrec_lib.models.graph_vectors import entity_seeds, graph_vectors

NUM_ITEMS = 40
IDS = pa.array([f"i{n:02d}" for n in range(NUM_ITEMS)])


def schools() -> pa.Table:
    """Each pair of items has a director of its own, and directors are of one of four schools; all are in a hub."""
    edges = [(f"i{n:02d}", f"director {n // 2}") for n in range(NUM_ITEMS - 2)]
    edges += [(f"director {n}", f"school {n % 4}") for n in range(NUM_ITEMS // 2 - 1)]
    edges += [(f"i{n:02d}", "film") for n in range(NUM_ITEMS - 2)]
    heads, tails = zip(*edges, strict=True)
    return pa.table({"head": heads, "tail": tails})


def test_items_are_near_over_what_they_share_and_over_entities_between() -> None:
    found = item_vectors(schools(), IDS, 256, 4)
    assert found["item_id"].to_pylist() == IDS.to_pylist()[:-2], "the last two have no edge"
    vectors = np.array(found["vector"].to_pylist())
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    director = np.arange(len(vectors)) // 2
    near = vectors @ vectors.T
    same = director[:, None] == director[None, :]
    of_school = (director[:, None] % 4 == director[None, :] % 4) & ~same
    others = ~of_school & ~same
    off = ~np.eye(len(vectors), dtype=bool)
    assert near[same & off].mean() > near[of_school].mean() + 0.1
    assert near[of_school].mean() > near[others].mean() + 0.05
    one_hop = np.array(item_vectors(schools(), IDS, 256, 1)["vector"].to_pylist())
    gap = (one_hop @ one_hop.T)[of_school].mean() - (one_hop @ one_hop.T)[others].mean()
    assert abs(gap) < 0.02, "in one hop the schools cannot be told"


def test_the_order_of_edges_changes_nothing_and_more_entities_little() -> None:
    edges = schools()
    before = np.array(item_vectors(edges, IDS, 64, 4)["vector"].to_pylist())
    turned = edges.take(pa.array(np.random.default_rng(0).permutation(edges.num_rows)))
    np.testing.assert_allclose(item_vectors(turned, IDS, 64, 4)["vector"].to_pylist(), before, atol=1e-5)
    more_ids = pa.array(["h0", *IDS.to_pylist()])
    more = pa.concat_tables([edges, pa.table({"head": ["h0"], "tail": ["director 3"]})])
    after = np.array(item_vectors(more, more_ids, 64, 4)["vector"].to_pylist())[1:]
    assert np.einsum("nd,nd->n", before, after).min() > 0.9, "a fitted model can go on with them"


def test_a_graph_without_edges_gives_no_vectors() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    assert not graph_vectors(nothing, nothing, entity_seeds("abc"), 3, 8, 4).any()
    empty = pa.table({"head": pa.array([], pa.string()), "tail": pa.array([], pa.string())})
    assert item_vectors(empty, IDS, 8, 4).num_rows == 0
