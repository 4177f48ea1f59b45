"""Lists of a batch of users, by Arrow, against plain Python."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from scipy import sparse

from mmrec_lib.errors import PublishingError
from mmrec_lib.models.attributes import group_values
from mmrec_lib.models.data import Content, Histories, histories_of_lists
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.reranking.facts import ItemFacts
from mmrec_lib.scoring.approximate import index_catalogue, measured_recall
from mmrec_lib.scoring.arrow_lists import groups_of_maps, list_offsets, lists_of_rows
from mmrec_lib.scoring.catalogue import Catalogue, load_catalogue, save_catalogue
from mmrec_lib.scoring.config import ListConfig, ScoringConfig
from mmrec_lib.scoring.neighbors import neighbor_rows
from mmrec_lib.scoring.path_nodes import nodes_of_contents
from mmrec_lib.scoring.questions import question_rows
from mmrec_lib.scoring.users import ScoringTask, score_batch, score_partition
from mmrec_lib.showing.build import build_rules
from mmrec_lib.showing.config import ShowingConfig
from mmrec_lib.showing.controls import CONTROLS_TYPE
from mmrec_lib.showing.item_rules import ItemRules
from mmrec_lib.topk.approximate import ApproximateConfig
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
    return Catalogue(ranker, ids, vectors, rules_of(ids))


def rules_of(ids: npt.NDArray[np.str_], **config: Any) -> ItemRules:
    """Rules over items of two categories, of which the fourth is not available."""
    table = pa.table(
        {
            "item_id": ids,
            "available": [place != 3 for place in range(len(ids))],
            "categories": [["even" if place % 2 == 0 else "odd"] for place in range(len(ids))],
            "attributes": pa.array([None] * len(ids), MAP),
        }
    )
    values = {"sex": ["f", "m"]}
    config = {"max_removed_share": 1.0} | config
    return build_rules(table, ShowingConfig.model_validate(config), date(2026, 1, 1), values, soft_controls={})


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
            "input_hash": pa.array(range(5), pa.int64()),
            "seed": pa.array(range(5), pa.int64()),
        }
    )


def scored(batch: pa.RecordBatch, catalogue: Catalogue, config: ListConfig, **reranking: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = score_batch(
        batch, catalogue, config, RerankingConfig.model_validate(reranking)
    ).to_pylist()
    return found


def expected_lists(batch: pa.RecordBatch, catalogue: Catalogue, k: int) -> list[list[tuple[str, float]]]:
    ranker, lists = catalogue.ranker, []
    today = set(catalogue.item_ids.tolist())
    for row in batch.to_pylist():
        known = [item for item in row["history_items"] or [] if item in today]
        attributes = group_values([dict(row["attributes"] or [])], ranker.attribute_names)
        history = Histories(histories_of_lists(ranker.item_index, [known]).weights, attributes)
        scores = catalogue.item_vectors.astype(np.float64) @ ranker.user_vectors(history)[0].astype(np.float64)
        seen = set(row["seen_item_ids"] or [])
        left = [
            (-np.float32(score), str(item))
            for item, score, gone in zip(catalogue.item_ids, scores, ~catalogue.rules.is_listed, strict=True)
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
    rows = scored(batch, catalogue, ListConfig(k=k, items_per_block=items_per_block))
    for row, expected in zip(rows, expected_lists(batch, catalogue, k), strict=True):
        assert row["item_ids"] == [item for item, _ in expected]
        np.testing.assert_allclose(row["scores"], [score for _, score in expected], atol=1e-5)
    assert len(rows[4]["item_ids"]) == min(k, 2), "one user has seen all but one item of the fit and the late one"


def test_a_task_that_gathers_its_users_searches_each_block_once(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, prepared = batch_of(catalogue.ranker), []
    monkeypatch.setattr("mmrec_lib.scoring.users.load_catalogue", lambda uri: catalogue)
    prepare = Catalogue._prepared
    monkeypatch.setattr(Catalogue, "_prepared", lambda self, rows: prepared.append(rows) or prepare(self, rows))
    lists = ListConfig(k=4, items_per_block=7)
    batches = [batch.slice(0, 2), batch.slice(0, 0), batch.slice(2)]
    found = list(score_partition(iter(batches), ScoringTask("", lists, RerankingConfig())))
    assert [one.num_rows for one in found] == [2, 3]
    assert len(prepared) == -(-len(catalogue.item_ids) // 7)
    assert pa.Table.from_batches(found).to_pylist() == scored(batch, catalogue, lists)

    prepared.clear()
    monkeypatch.setattr("mmrec_lib.scoring.users._MAX_GATHERED", 2)
    bounded = list(score_partition(iter(batches), ScoringTask("", lists, RerankingConfig())))
    assert pa.Table.from_batches(bounded) == pa.Table.from_batches(found)
    assert len(prepared) == 2 * -(-len(catalogue.item_ids) // 7), "no more users are gathered than memory allows"


@pytest.mark.parametrize("users_at_once", [2, 128])
def test_a_user_s_row_does_not_depend_on_who_else_is_scored(
    catalogue: Catalogue, users_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmrec_lib.scoring.users.USERS_AT_ONCE", users_at_once)
    batch = batch_of(catalogue.ranker)
    many = pa.Table.from_batches([batch] * 9).combine_chunks().to_batches()[0]
    whole = scored(many, catalogue, ListConfig(k=4))
    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 30):
        chosen = rng.choice(many.num_rows, size, replace=False)
        assert scored(many.take(pa.array(chosen)), catalogue, ListConfig(k=4)) == [whole[row] for row in chosen]


def test_the_first_ranks_are_explained_and_add_up(catalogue: Catalogue) -> None:
    batch = batch_of(catalogue.ranker)
    rows = scored(batch, catalogue, ListConfig(k=8, explained_ranks=3, num_reasons=2))
    for given, row in zip(batch.to_pylist(), rows, strict=True):
        assert len(row["shares"]) == len(row["reasons"]) == min(3, len(row["item_ids"]))
        for shares, score in zip(row["shares"], row["scores"], strict=False):
            assert sum(dict(shares).values()) == pytest.approx(score, abs=1e-6)
            assert set(dict(shares)) <= {
                *catalogue.ranker.sources,
                "content",
                "popularity",
                "demographics",
                "residual",
                "rules",
            }
        for item, shares, reasons in zip(row["item_ids"], row["shares"], row["reasons"], strict=False):
            assert set(reasons) <= set(given["history_items"] or [])
            assert len(reasons) <= 2
            if item == "zz-late":
                assert not reasons
                assert {name for name, value in shares if value} <= {"content", "residual"}
    assert any(row["reasons"][0] for row in rows)


@pytest.mark.parametrize("config", [ListConfig(k=2, explained_ranks=0), ListConfig(k=2, num_reasons=0)])
def test_explanations_can_be_left_out(catalogue: Catalogue, config: ListConfig) -> None:
    for row in scored(batch_of(catalogue.ranker), catalogue, config):
        assert len(row["shares"] or []) == min(config.explained_ranks, 2)
        assert not any(row["reasons"] or [])


def test_neighbours_by_blocks_are_those_of_the_whole(catalogue: Catalogue) -> None:
    scale = np.linspace(1, 2, 4, dtype=np.float32)
    whole = nearest(catalogue.item_vectors[:, :4] * scale, 3, unavailable=~catalogue.rules.is_listed)
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


def with_controls(batch: pa.RecordBatch, controls: list[list[tuple[str, str, str]] | None]) -> pa.RecordBatch:
    rows = [
        [{"action": a, "target_kind": kind, "target": target, "strength": None} for a, kind, target in own or []]
        for own in controls
    ]
    return batch.append_column("controls", pa.array(rows, CONTROLS_TYPE))


def test_rules_and_controls_decide_before_selection_so_that_lists_stay_full(catalogue: Catalogue) -> None:
    ids = catalogue.item_ids
    rules = rules_of(
        ids,
        segments={"women": [{"attribute": "sex", "is_in": ["f"]}]},
        rules=[
            {"name": "no odd ones", "kind": "exclude", "items": {"categories": ["odd"]}, "segment": "women"},
            {"name": "late first", "kind": "pin", "items": {"item_ids": ["zz-late"]}, "position": 1},
            {"name": "even up", "kind": "boost", "items": {"categories": ["even"]}, "amount": 10.0},
        ],
    )
    batch = with_controls(
        batch_of(catalogue.ranker), [None, [("block", "item", str(ids[0]))], [("mute", "category", "even")], None, None]
    )
    rows = scored(batch, replace(catalogue, rules=rules), ListConfig(k=4))
    places = {str(item): place for place, item in enumerate(ids)}
    for row in rows:
        found = [places[item] for item in row["item_ids"]]
        is_even = [place % 2 == 0 for place in found if ids[place] != "zz-late"]
        assert is_even == sorted(is_even, reverse=True), "boosted ones come first"
    # One user has muted the category of the pinned item.
    assert [row["item_ids"][0] == "zz-late" for row in rows] == [True, True, False, True, True]
    assert ids[0] not in rows[1]["item_ids"]
    assert [places[item] % 2 for item in rows[2]["item_ids"]] == [1] * 4
    assert all(places[item] % 2 == 0 for item in rows[3]["item_ids"])
    assert [len(row["item_ids"]) for row in rows[:4]] == [4] * 4
    for row in rows:
        for item, shares, score in zip(row["item_ids"], row["shares"], row["scores"], strict=False):
            assert sum(dict(shares).values()) == pytest.approx(score, abs=1e-4)
            if item != "zz-late":
                assert dict(shares).get("rules", 0.0) == pytest.approx(10.0 * (places[item] % 2 == 0))


def test_lists_are_reranked_from_more_candidates_than_they_hold(catalogue: Catalogue) -> None:
    ids = catalogue.item_ids
    facts = ItemFacts.of(
        len(ids),
        categories=sparse.csr_matrix(np.eye(2, dtype=np.float32)[np.arange(len(ids)) % 2]),
        category_names=("even", "odd"),
        is_new=np.arange(len(ids)) == len(ids) - 1,
    )
    shop = replace(catalogue, facts=facts)
    batch = batch_of(catalogue.ranker)
    quota = [{"by": "category", "name": "even", "at_most": 1}]
    rows = scored(batch, shop, ListConfig(k=4), quotas=quota)
    plain = scored(batch, catalogue, ListConfig(k=100))
    places = {str(item): place for place, item in enumerate(ids)}
    for row, all_items in zip(rows[:4], plain, strict=False):
        kinds = [places[item] % 2 for item in row["item_ids"]]
        assert kinds.count(0) <= 1
        assert len(kinds) == 4
        kept = [item for item in all_items["item_ids"] if item in row["item_ids"]]
        assert row["item_ids"] == kept
        assert row["propensities"] is None
    drawn = scored(batch, shop, ListConfig(k=4), exploration={"slots": [2], "epsilon": 0.9})
    for row, undisturbed in zip(drawn[:4], plain, strict=False):
        late_first = undisturbed["item_ids"][:4].index("zz-late") if "zz-late" in undisturbed["item_ids"][:4] else None
        if late_first is None:
            assert len(row["propensities"]) == len(row["item_ids"]) == 4
            assert row["propensities"][1] == pytest.approx(0.9 if row["item_ids"][1] == "zz-late" else 0.1)
    assert any(row["item_ids"][1] == "zz-late" for row in drawn)
    # Also where it is not among the candidates.
    few = scored(batch, shop, ListConfig(k=2), num_candidates=2, exploration={"slots": [2], "epsilon": 0.9})
    assert any(row["item_ids"][1] == "zz-late" for row in few)


def large_catalogue() -> tuple[Catalogue, pa.Table]:
    """1,000 items of random vectors under rules, and 60 users of random histories."""
    rng = np.random.default_rng(0)
    ids = np.array([f"i{n:04d}" for n in range(1_000)])
    wide = fit_ranker(checkerboard().train, SETTINGS)
    vectors = rng.standard_normal((1_000, wide.vector_dim)).astype(np.float32)
    muted = {"name": "odd out", "kind": "exclude", "items": {"categories": ["odd"]}, "segment": "men"}
    segments = {"men": [{"attribute": "sex", "is_in": ["m"]}]}
    batch = batch_of(wide)
    table = pa.Table.from_batches([batch] * 12)
    return Catalogue(wide, ids, vectors, rules_of(ids, rules=[muted], segments=segments)), table


def test_the_first_places_name_a_fact_that_an_item_of_the_history_shares(catalogue: Catalogue, tmp_path: Path) -> None:
    tokens = [[f"m{place % 8}"] for place in range(len(catalogue.item_ids))]
    nodes = nodes_of_contents({"graph:made_by": Content.from_tokens("graph:made_by", tokens)}, len(tokens))
    assert nodes is not None
    whole, batch = replace(catalogue, nodes=nodes), batch_of(catalogue.ranker)
    config = ListConfig(k=8, explained_ranks=5)
    rows = scored(batch, whole, config)
    maker = {item: f"m{place % 8}" for place, item in enumerate(catalogue.item_ids.tolist())}
    num_paths = 0
    for row, history in zip(rows, batch["history_items"].to_pylist(), strict=True):
        assert len(row["paths"]) == min(len(row["item_ids"]), 5)
        for item, path in zip(row["item_ids"], row["paths"], strict=False):
            shares = {maker[other] for other in history or () if other in maker and other != item}
            assert (path is not None) == (maker[item] in shares)
            if path is not None:
                num_paths += 1
                assert maker[path["item_id"]] == path["node"] == maker[item] and path["item_id"] in history
    assert num_paths
    catalogue.ranker.save(tmp_path / "ranker")
    assert "nodes" in save_catalogue(whole, tmp_path / "ranker", str(tmp_path / "catalogue"))
    assert scored(batch, load_catalogue(str(tmp_path / "catalogue")), config) == rows
    assert [row["paths"] for row in scored(batch, catalogue, config)] == [None] * len(rows)
    rest = [{name: value for name, value in row.items() if name != "paths"} for row in rows]
    plain = scored(batch, catalogue, config)
    assert [{name: value for name, value in row.items() if name != "paths"} for row in plain] == rest


def test_questions_are_items_that_may_be_listed_and_were_there_at_the_fit(catalogue: Catalogue) -> None:
    dim = catalogue.ranker.distilled.shape[1]
    rows = question_rows(catalogue, np.ones(dim, np.float32), 7, date(2026, 1, 1), "3").to_pylist()
    assert [row["rank"] for row in rows] == list(range(1, 8))
    listed = {str(item) for item in catalogue.item_ids[catalogue.rules.is_listed]} - {"zz-late"}
    warm = {str(item) for item in catalogue.ranker.item_ids[catalogue.ranker.warm]}
    assert {row["item_id"] for row in rows} <= listed & warm
    assert question_rows(catalogue, np.ones(dim, np.float32), 0, date(2026, 1, 1), "3").num_rows == 0


def test_an_index_finds_what_exact_search_finds_and_its_recall_has_a_floor(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    catalogue, sample = large_catalogue()
    whole = ScoringConfig(k=10, search="ivf", approximate=ApproximateConfig(effort=1_000, over_fetch=100))
    assert index_catalogue(catalogue, ScoringConfig(k=10)) is catalogue
    indexed = index_catalogue(catalogue, whole)
    assert measured_recall(indexed, sample, whole) == 1.0
    batch = sample.to_batches()[0]
    assert scored(batch, indexed, whole) == scored(batch, catalogue, whole)
    catalogue.ranker.save(tmp_path / "ranker")
    save_catalogue(indexed, tmp_path / "ranker", str(tmp_path / "catalogue"))
    assert scored(batch, load_catalogue(str(tmp_path / "catalogue")), whole) == scored(batch, catalogue, whole)
    least = ScoringConfig(k=10, search="pq", approximate=ApproximateConfig(effort=1, over_fetch=1, min_recall=0.9))
    with pytest.raises(PublishingError, match=r"pq finds [0-9.]+% of the items of exact lists for 60 users; .* 90\.0%"):
        measured_recall(index_catalogue(catalogue, least), sample, least)
    assert measured_recall(indexed, sample.slice(0, 0), whole) == 1.0


def test_keys_of_another_search_are_refused() -> None:
    with pytest.raises(ValueError, match=r"items_per_block has an effect only where .* is exact: .* got 7 with hnsw"):
        ScoringConfig(search="hnsw", items_per_block=7)
    with pytest.raises(ValueError, match=r"approximate has an effect only where scoring\.search is ivf, hnsw or pq"):
        ScoringConfig(approximate=ApproximateConfig(effort=3))
