from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.benchmarks import planted as module
from tests.benchmarks.planted import EVENT_TYPES, Planted, measure_lists, write_store

SMALL = Planted(300, 400, 5_000, dim=8, seed=3)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK_USERS", 70)
    monkeypatch.setattr(module, "_BLOCK_ITEMS", 150)


@pytest.mark.usefixtures("small_blocks")
def test_a_written_store_has_the_size_asked_for_and_ids_stand_once(tmp_path: Path) -> None:
    write_store(SMALL, tmp_path)
    tables = {name: pq.read_table(tmp_path / name) for name in ("users", "items", "events")}
    vectors = pq.read_table(tmp_path / "vectors" / "image-planted.parquet")
    assert {name: table.num_rows for name, table in tables.items()} == {"users": 300, "items": 400, "events": 5_000}
    assert len(set(tables["events"]["event_id"].to_pylist())) == 5_000
    assert set(tables["events"]["user_id"].to_pylist()) <= set(tables["users"]["user_id"].to_pylist())
    assert sorted(vectors["item_id"].to_pylist()) == sorted(tables["items"]["item_id"].to_pylist())
    assert set(tables["events"]["event_type"].to_pylist()) == set(EVENT_TYPES)
    assert {len(vector) for vector in vectors["vector"].to_pylist()} == {8}


def test_a_block_is_the_same_whenever_it_is_drawn_and_another_seed_draws_another() -> None:
    assert SMALL.events(0).equals(Planted(300, 400, 5_000, dim=8, seed=3).events(0))
    assert not SMALL.events(0).equals(Planted(300, 400, 5_000, dim=8, seed=4).events(0))


def test_most_events_lie_in_a_users_tastes_and_new_items_have_none() -> None:
    rows, items = SMALL.interactions(0)
    in_tastes = (SMALL.tastes(0)[rows] == SMALL.clusters_of(items)[:, None]).any(axis=1)
    # 0.8 of the events, and 3 of 10 clusters of all others by chance.
    assert in_tastes.mean() == pytest.approx(0.8 + 0.2 * 0.3, abs=0.02)
    assert len(set(range(400)) - set(items.tolist())) >= SMALL.num_clusters


def test_vectors_of_a_cluster_are_alike() -> None:
    vectors = np.stack(SMALL.vectors(range(400))["vector"].to_pylist())
    of = SMALL.clusters_of(np.arange(400))
    centred = vectors - vectors.mean(axis=0)
    cosine = centred @ centred.T / np.outer(*[np.linalg.norm(centred, axis=1)] * 2)
    same = of[:, None] == of[None, :]
    assert cosine[same].mean() > 0.5 > abs(cosine[~same].mean()) + 0.3


def test_ids_lead_back_to_positions() -> None:
    at = np.array([0, 7, 399])
    assert SMALL.items_of_ids(SMALL.item_ids(at)).tolist() == at.tolist()


def test_lists_of_held_out_likes_have_full_recall_and_popular_lists_their_own() -> None:
    likes = SMALL.held_out(0, 20)
    rows = np.repeat(np.arange(300), 20)
    best = measure_lists(SMALL, 0, rows, likes.reshape(-1))
    assert (best.num_users, best.taste_share, best.recall) == (300, 1.0, 1.0)
    assert 0 < best.recall_popular < 1
    assert best.taste_share_popular == pytest.approx(0.3, abs=0.1)


def test_a_store_of_too_few_items_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 20 items"):
        Planted(10, 5, 10)
