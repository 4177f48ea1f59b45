"""The whole pipeline on a tiny store. What changes it works on a copy; the last of these tests run in order."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.contracts.learning import OUTSIDE_PIPELINE
from mmrec_lib.scoring.config import ScoringConfig
from tests.compare import table_rows, versions
from tests.data.increment import change_price, delete_item, event_before_item, replace_image, write_increment
from tests.pipeline.conftest import Demo

# All jobs together: what the last runs were is read once, from the run ledger.
NOTHING_NEW_SPARK_JOBS = 2

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def changed(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A copy of the finished store, in another place, that got new deliveries and went through the pipeline again."""
    return demo.copied(tmp_path_factory.mktemp("changed") / "store")


def test_every_delivered_record_is_where_the_generator_says(demo: Demo) -> None:
    summary = demo.summary
    expected = demo.expected
    assert summary["quarantine"] == expected["quarantine"]
    for name, rows in expected["tables"].items():
        assert summary["tables"][name] == rows, name


def test_the_books_of_every_file_balance(demo: Demo) -> None:
    sums: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in table_rows(demo.out, "landing_file").to_pylist():
        parts = [row[f"num_{part}"] for part in ("stored", "superseded", "duplicates", "quarantined")]
        assert row["num_read"] == sum(parts), row["path"]
        for part in ("read", "stored", "superseded", "duplicates", "quarantined"):
            sums[row["record_kind"]][part] += row[f"num_{part}"]
    assert {kind: dict(reconciliation) for kind, reconciliation in sums.items()} == {
        kind: reconciliation for kind, reconciliation in demo.expected["books"].items() if kind != "media"
    }


def test_summary_has_the_documented_layout(demo: Demo) -> None:
    summary = demo.summary
    assert set(summary) == {"tables", "quarantine", "metrics", "baselines", "seconds", "model", "versions"}
    assert set(summary["tables"]) == set(CONTRACTS) - set(OUTSIDE_PIPELINE)
    assert {"ndcg@10", "recall@20", "warm:ndcg@10", "coverage@10"} <= set(summary["metrics"]["fit2"])
    assert set(summary["metrics"]) == {"fit1", "fit2"}
    assert {"popularity", "decayed_popularity", "item_knn", "ease", "ranker_no_content"} <= set(summary["baselines"])
    assert summary["model"] == {"name": "mmrec_ranker", "version": "1", "alias": "champion"}
    assert set(summary["seconds"]) >= {"ingest_landing", "score_topk", "build_report"}
    assert all(seconds > 0 for seconds in summary["seconds"].values())


def test_every_known_user_has_a_list_without_seen_or_unavailable_items(demo: Demo) -> None:
    users = {row["user_id"] for row in table_rows(demo.out, "user", ["user_id"]).to_pylist()}
    items = {
        row["item_id"]: row["available"] for row in table_rows(demo.out, "item", ["item_id", "available"]).to_pylist()
    }
    seen = {row["user_id"]: set(row["seen_item_ids"]) for row in table_rows(demo.out, "user_profile").to_pylist()}
    lists: dict[str, list[dict[str, object]]] = defaultdict(list)
    for row in table_rows(demo.out, "user_topk").to_pylist():
        lists[row["user_id"]].append(row)
    assert set(lists) == users
    candidates = {item for item, available in items.items() if available}
    for user, rows in lists.items():
        rows.sort(key=lambda row: row["rank"])  # type: ignore[arg-type,return-value]
        listed = [row["item_id"] for row in rows]
        assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
        assert set(listed) == candidates - seen[user]  # 30 items, k = 50: everything else is listed
        scores = [row["score"] for row in rows]
        assert scores == sorted(scores, reverse=True)  # type: ignore[type-var]
        for row in rows[: ScoringConfig().explained_ranks]:
            assert sum(dict(row["source_shares"]).values()) == pytest.approx(row["score"], abs=1e-5)  # type: ignore[call-overload]
        assert not any(row["source_shares"] for row in rows[ScoringConfig().explained_ranks :])


def test_scores_are_the_dot_products_of_the_published_vectors(demo: Demo) -> None:
    users = {row["user_id"]: row["vector"] for row in table_rows(demo.out, "user_vector").to_pylist()}
    items = {row["item_id"]: row["vector"] for row in table_rows(demo.out, "item_vector").to_pylist()}
    for row in table_rows(demo.out, "user_topk").to_pylist()[::17]:
        product = float(np.dot(np.array(users[row["user_id"]]), np.array(items[row["item_id"]])))
        assert row["score"] == pytest.approx(product, rel=1e-4, abs=1e-4)


def test_nothing_after_the_cut_reaches_training(demo: Demo) -> None:
    snapshot = table_rows(demo.out, "training_snapshot").to_pylist()[0]
    rows = table_rows(demo.out, "training_interaction").to_pylist()
    assert max(r["train_ts"] for r in rows if r["train_ts"]) < snapshot["valid_from_ts"]
    assert snapshot["valid_from_ts"] <= min(r["valid_ts"] for r in rows if r["valid_ts"])
    assert max(r["valid_ts"] for r in rows if r["valid_ts"]) < snapshot["test_from_ts"]
    assert snapshot["test_from_ts"] <= min(r["test_ts"] for r in rows if r["test_ts"])


def test_every_row_of_user_topk_leads_to_table_versions(demo: Demo) -> None:
    version = table_rows(demo.out, "user_topk").to_pylist()[0]["model_version"]
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{demo.out}/mlflow.db")
    model = client.get_model_version("mmrec_ranker", version)
    inputs = {data.dataset.name: data.dataset.source for data in client.get_run(model.run_id).inputs.dataset_inputs}
    assert {"event", "item", "training_interaction"} <= set(inputs)
    assert json.loads(inputs["event"])["delta_table_version"] is not None
    assert not list(demo.out.rglob("*.pkl"))


def test_report_is_one_page_that_needs_no_network(demo: Demo) -> None:
    page = (demo.out / "report.html").read_text(encoding="utf-8")
    assert 'src="http' not in page and 'href="http' not in page and "<script" not in page
    assert "data:image/jpeg;base64," in page


@pytest.mark.slow
def test_a_second_run_commits_nothing_and_encodes_nothing(changed: Demo) -> None:
    before = versions(changed.out)
    assert changed.run(noted_as="nothing new") == 0
    assert versions(changed.out) == before
    counts = changed.spark_jobs["nothing new"]
    assert sum(counts.values()) <= NOTHING_NEW_SPARK_JOBS, counts
    assert set(changed.summary["seconds"].values()) == {0}


def test_another_data_folder_is_refused_by_name(demo: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    other = Demo(demo.data.parent, demo.out, demo.models, {})
    assert other.run() == 1
    assert str(demo.data) in capsys.readouterr().err


def test_an_as_of_date_before_all_events_is_refused(changed: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    before = versions(changed.out)
    assert changed.run("--as-of", "2001-01-01") == 1
    assert "2001-01-01" in capsys.readouterr().err
    assert versions(changed.out) == before


@pytest.mark.slow
def test_new_deliveries_are_all_that_is_read_and_encoded(changed: Demo) -> None:
    stored = changed.summary["tables"]
    made = write_increment(changed.data)
    image_before = _asset_of(changed, "images", replaced := _some_item(changed, 3))
    replace_image(changed.data, replaced)
    priced, deleted = _some_item(changed, 4), _some_item(changed, 5)
    change_price(changed.data, priced, 77.5)
    delete_item(changed.data, deleted)
    early = event_before_item(changed.data)
    assert changed.run() == 0
    tables = changed.summary["tables"]
    # An event on the item that is deleted in the same run is kept aside, not lost.
    aside = [r for r in table_rows(changed.out, "quarantine").to_pylist() if r["waits_for_item_id"] == deleted]
    assert tables["event"] == stored["event"] + len(made["event_ids"]) - len(aside)
    assert tables["item"] == stored["item"] + len(made["item_ids"]) - 1
    counts = _last_counts(changed, "ingest_landing")
    assert counts["event.read"] == len(made["event_ids"]) + 1
    encoded = _last_counts(changed, "embed_content")["encoded"]
    # Title, description and image of each new item, words read in the image and its labels; the replaced image.
    assert 0 < encoded <= 5 * len(made["item_ids"]) + 3
    items = {row["item_id"]: row for row in table_rows(changed.out, "item").to_pylist()}
    assert items[priced]["price"] == 77.5
    assert deleted not in items
    assert _asset_of(changed, "images", replaced) != image_before
    assert set(made["item_ids"]) & {row["item_id"] for row in _newest(changed, "user_topk") if row["rank"] <= 10}
    for table in ("user_topk", "item_neighbor"):
        assert deleted not in {row["item_id"] for row in _newest(changed, table)}, table
    waiting = [r for r in table_rows(changed.out, "quarantine").to_pylist() if r["waits_for_item_id"] == early.item_id]
    assert len(waiting) == 1
    early.deliver_item()
    assert changed.run_ingest() == 0
    assert early.event_id in {row["event_id"] for row in table_rows(changed.out, "event", ["event_id"]).to_pylist()}
    left = [r for r in table_rows(changed.out, "quarantine").to_pylist() if r["waits_for_item_id"] == early.item_id]
    assert left == []


@pytest.mark.slow
def test_the_candidate_is_judged_against_the_champions_settings(changed: Demo) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{changed.out}/mlflow.db")
    newest = max(client.search_model_versions("name = 'mmrec_ranker'"), key=lambda v: int(v.version))
    assert int(newest.version) > 1
    assert "of champion" in newest.tags["mmrec.promotion"]


def _newest(demo: Demo, table: str) -> list[dict[str, Any]]:
    """Rows of the current slice: the increment's events move the date by a day, and older slices stay."""
    rows = table_rows(demo.out, table).to_pylist()
    latest = max(row["as_of_date"] for row in rows)
    return [row for row in rows if row["as_of_date"] == latest]


def _some_item(demo: Demo, number: int) -> str:
    linked = {row["owner_id"] for row in table_rows(demo.out, "media_link").to_pylist() if row["owner_kind"] == "item"}
    return sorted(linked)[number]


def _asset_of(demo: Demo, field: str, item: str) -> str:
    rows = table_rows(demo.out, "media_link").to_pylist()
    return next(r["asset_id"] for r in rows if (r["field"], r["owner_id"], r["position"]) == (field, item, 0))


def _last_counts(demo: Demo, job: str) -> dict[str, int]:
    runs = [
        row for row in table_rows(demo.out, "job_run").to_pylist() if row["job"] == job and row["status"] == "succeeded"
    ]
    latest = max(runs, key=lambda row: row["started_at"])
    return dict(latest["counts"])


def test_times_are_utc(demo: Demo) -> None:
    first = min(row["event_ts"] for row in table_rows(demo.out, "event", ["event_ts"]).to_pylist())
    assert first.astimezone(UTC) < datetime(2025, 3, 3, tzinfo=UTC)
