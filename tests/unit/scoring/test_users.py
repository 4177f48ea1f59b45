"""Lists of a batch of users, by Arrow, against plain Python."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from mmrec_lib.models.attributes import group_values
from mmrec_lib.models.data import Histories, histories_of_lists
from mmrec_lib.models.ranker.ranker import FittedRanker, fit_ranker
from mmrec_lib.scoring.arrow_lists import groups_of_maps, list_offsets, lists_of_rows
from mmrec_lib.scoring.catalogue import Catalogue
from mmrec_lib.scoring.config import ListConfig
from mmrec_lib.scoring.neighbors import neighbor_rows
from mmrec_lib.scoring.users import score_batch
from mmrec_lib.topk.exact import nearest
from tests.unit.models.checkerboard import SETTINGS, checkerboard

MAP = pa.map_(pa.string(), pa.string())


@pytest.fixture(scope="module")
def ranker() -> FittedRanker:
    return fit_ranker(checkerboard().train, SETTINGS)


@pytest.fixture(scope="module")
def catalogue(ranker: FittedRanker) -> Catalogue:
    """Today's items: the first two of the fit are gone, one came after it, one is not available."""
    ids = np.array([*ranker.item_ids[2:], "zz-late"])
    vectors = np.vstack([ranker.item_vectors()[2:], ranker.item_vectors()[-1:] * 1.5]).astype(np.float32)
    unavailable = np.zeros(len(ids), np.bool_)
    unavailable[3] = True
    return Catalogue(ranker, ids, vectors, unavailable)


def batch_of(ranker: FittedRanker) -> pa.RecordBatch:
    ids = [str(item) for item in ranker.item_ids]
    histories = [[ids[0], ids[4], ids[6], "unknown"], [], None, ids[2:9:2], ids[2:]]
    return pa.RecordBatch.from_pydict(
        {
            "user_id": [f"u{row}" for row in range(5)],
            "attributes": pa.array([[("age", "24")], None, [], [("sex", "f"), ("age", "x")], [("sex", None)]], MAP),
            "history_items": pa.array(histories, pa.list_(pa.string())),
            "history_weights": pa.array([[1.0] * len(h) if h is not None else None for h in histories]),
            "seen_item_ids": pa.array([h and [i for i in h if i != ids[4]] for h in histories], pa.list_(pa.string())),
        }
    )


def expected_lists(batch: pa.RecordBatch, catalogue: Catalogue, k: int) -> list[list[tuple[str, float]]]:
    ranker, lists = catalogue.ranker, []
    today = set(catalogue.item_ids.tolist())
    for row in batch.to_pylist():
        known = [item for item in row["history_items"] or [] if item in today]
        attributes = group_values([dict(row["attributes"] or [])], ranker.attribute_names)
        history = Histories(histories_of_lists(ranker.item_ids, [known]).weights, attributes)
        scores = catalogue.item_vectors.astype(np.float64) @ ranker.user_vectors(history)[0].astype(np.float64)
        seen = set(row["seen_item_ids"] or [])
        left = [
            (-np.float32(score), str(item))
            for item, score, gone in zip(catalogue.item_ids, scores, catalogue.unavailable, strict=True)
            if item not in seen and not gone
        ]
        lists.append([(item, -float(score)) for score, item in sorted(left)[:k]])
    return lists


@pytest.mark.parametrize("items_per_block", [1_000, 7, 1])
@pytest.mark.parametrize("k", [1, 4, 100])
def test_lists_are_those_of_brute_force_in_any_number_of_blocks(
    catalogue: Catalogue, k: int, items_per_block: int
) -> None:
    batch = batch_of(catalogue.ranker)
    rows = score_batch(batch, catalogue, ListConfig(k=k, items_per_block=items_per_block)).to_pylist()
    for row, expected in zip(rows, expected_lists(batch, catalogue, k), strict=True):
        assert row["item_ids"] == [item for item, _ in expected]
        np.testing.assert_allclose(row["scores"], [score for _, score in expected], atol=1e-5)
    assert len(rows[4]["item_ids"]) == min(k, 2), "one user has seen all but one item of the fit and the late one"


def test_the_first_ranks_are_explained_and_add_up(catalogue: Catalogue) -> None:
    batch = batch_of(catalogue.ranker)
    rows = score_batch(batch, catalogue, ListConfig(k=8, explained_ranks=3, num_reasons=2)).to_pylist()
    for given, row in zip(batch.to_pylist(), rows, strict=True):
        assert len(row["shares"]) == len(row["reasons"]) == min(3, len(row["item_ids"]))
        for shares, score in zip(row["shares"], row["scores"], strict=False):
            assert sum(dict(shares).values()) == pytest.approx(score, abs=1e-6)
            assert set(dict(shares)) <= {*catalogue.ranker.sources, "content", "popularity", "demographics", "residual"}
        for item, shares, reasons in zip(row["item_ids"], row["shares"], row["reasons"], strict=False):
            assert set(reasons) <= set(given["history_items"] or [])
            assert len(reasons) <= 2
            if item == "zz-late":
                assert not reasons
                assert {name for name, value in shares if value} <= {"content", "residual"}
    assert any(row["reasons"][0] for row in rows)


@pytest.mark.parametrize("config", [ListConfig(k=2, explained_ranks=0), ListConfig(k=2, num_reasons=0)])
def test_explanations_can_be_left_out(catalogue: Catalogue, config: ListConfig) -> None:
    for row in score_batch(batch_of(catalogue.ranker), catalogue, config).to_pylist():
        assert len(row["shares"] or []) == min(config.explained_ranks, 2)
        assert not any(row["reasons"] or [])


def test_neighbours_by_blocks_are_those_of_the_whole(catalogue: Catalogue) -> None:
    scale = np.linspace(1, 2, 4, dtype=np.float32)
    whole = nearest(catalogue.item_vectors[:, :4] * scale, 3, unavailable=catalogue.unavailable)
    rows = [
        row
        for start in range(0, len(catalogue.item_ids), 5)
        for row in neighbor_rows(catalogue, scale, 3, slice(start, min(start + 5, len(catalogue.item_ids)))).to_pylist()
    ]
    found = [(row["item_id"], row["rank"], row["neighbor_id"]) for row in rows]
    ids = catalogue.item_ids
    assert found == [
        (ids[item], place + 1, ids[other])
        for item, others in enumerate(whole.indices)
        for place, other in enumerate(others)
        if other >= 0
    ]


def test_groups_of_maps_are_those_of_mappings() -> None:
    rows = [[("age", "24"), ("sex", "F")], None, [("age", None)], [], [("age", "1e3"), ("other", "x")]]
    found = groups_of_maps(pa.array(rows, MAP), ["age", "sex", "gone"])
    expected = group_values([dict(row or ()) for row in rows], ["age", "sex", "gone"])
    assert {name: values.tolist() for name, values in found.items()} == {
        name: values.tolist() for name, values in expected.items()
    }
    sliced = groups_of_maps(pa.array(rows, MAP).slice(3), ["age"])
    assert sliced["age"].tolist() == expected["age"].tolist()[3:]


def test_offsets_of_lists_count_null_as_empty_also_in_a_slice() -> None:
    lists = pa.array([["a"], None, [], ["b", "c"]])
    assert list_offsets(lists).tolist() == [0, 1, 1, 1, 3]
    assert list_offsets(lists.slice(2)).tolist() == [0, 0, 2]
    assert lists_of_rows(lists.flatten(), np.diff(list_offsets(lists))).to_pylist() == [["a"], [], [], ["b", "c"]]
