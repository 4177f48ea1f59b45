"""Published lists as others read them: the examples of docs/outputs.md, views of a catalogue, and exports."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from pyspark.sql import SparkSession

from jobs import export_lists as job
from mmrec_lib.errors import NoDataError
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.lakehouse.store import create_card
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.lakehouse.views import ensure_current_views
from mmrec_lib.publishing.exports import ExportConfig, expired, export_lists, is_exported, lists_by_key
from mmrec_lib.runtime.main import run_main
from tests.conftest import PROJECT
from tests.published import NAMES, publish

DAY, EARLIER, LATER = date(2025, 10, 1), date(2025, 9, 1), date(2025, 11, 1)
LISTS = {"u0001": ["p017", "p003", "p100"], "u0002": ["p003"]}
NEIGHBORS = {"p003": ["p017", "p100"], "p017": ["p003"]}
SCHEMA = "mmrec_published"
PAGE = (PROJECT / "docs" / "outputs.md").read_text(encoding="utf-8")
READING = PAGE.split("\n## Reading the lists\n", 1)[1].split("\n## ", 1)[0]
EXPORTING = PAGE.split("\n## Exports for key-value stores\n", 1)[1].split("\n## ", 1)[0]


def examples(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


SQL, PYTHON = examples(READING, "sql"), examples(READING, "python")


@dataclass(frozen=True)
class Published:
    """A store whose slice of another date than the newest was published last, below `folder`/out/demo."""

    folder: Path
    lakehouse: Lakehouse

    def tables(self, run: str) -> Lakehouse:
        return Lakehouse(self.lakehouse.spark, self.lakehouse.store, run, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture(scope="module")
def published(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("published")
    store = StoreConfig(data=str(folder / "landing"), out=str(folder / "out" / "demo"))
    (folder / "out" / "demo").mkdir(parents=True)
    create_card(store)
    lakehouse = Lakehouse(spark, store, "run-1", datetime(2026, 1, 1, tzinfo=UTC))
    publish(lakehouse, LATER, {"u0001": ["p100"], "u0003": ["p017"]}, version="6")
    publish(lakehouse, DAY, LISTS, neighbors=NEIGHBORS)
    return Published(folder, lakehouse)


def run_python(example: str, published: Published, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run an example of the page where out/demo is the store; returns its names."""
    monkeypatch.chdir(published.folder)
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(example, "docs/outputs.md", "exec"), names)
    return names


# reading


def test_the_page_has_an_example_for_every_reader() -> None:
    assert [re.findall(r"delta\.`|_current\b|table_changes", example)[0] for example in SQL] == [
        "delta.`",
        "_current",
        "table_changes",
    ]
    told = [[part in e for part in ("to_pandas(filters", ".dataset", "duckdb", "QueryBuilder", "_cdf")] for e in PYTHON]
    assert [each.index(True) for each in told] == [0, 1, 2, 3, 4], "an example that no test below runs"
    assert examples((PROJECT / "README.md").read_text(encoding="utf-8"), "python") == [PYTHON[0]]


def test_spark_sql_reads_the_current_slice(published: Published) -> None:
    rows = published.lakehouse.spark.sql(SQL[0].replace("out/demo", f"{published.folder}/out/demo")).collect()
    assert [(row["rank"], row["item_id"], row["score"]) for row in rows] == [
        (1, "p017", -1.0),
        (2, "p003", -2.0),
        (3, "p100", -3.0),
    ]
    assert rows[0]["source_shares"] == {"ease": -1.0}


def test_pandas_reads_the_current_slice(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = run_python(PYTHON[0], published, monkeypatch)["lists"]
    assert set(lists["user_id"]) == set(LISTS)
    assert lists[lists["user_id"] == "u0001"].sort_values("rank")["item_id"].tolist() == LISTS["u0001"]


def test_arrow_reads_one_user(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = run_python(PYTHON[1], published, monkeypatch)["lists"]
    assert lists["item_id"].to_pylist() == LISTS["u0001"]


def test_duckdb_reads_all_lists(
    published: Published, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_python(PYTHON[2], published, monkeypatch)
    assert capsys.readouterr().out.strip() == str(list(LISTS.items()))


def test_a_query_of_delta_rs_reads_all_lists(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run_python(PYTHON[3], published, monkeypatch)["found"]
    counts = dict(zip(found["as_of_date"].to_pylist(), found["num_rows"].to_pylist(), strict=True))
    assert counts == {DAY: sum(map(len, LISTS.values())), LATER: 2}


def test_the_change_feed_of_spark_and_delta_rs_nets_to_the_rows(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = published.lakehouse.spark.sql(SQL[2].replace("out/demo", f"{published.folder}/out/demo")).collect()
    expected = {(DAY, user, rank, item) for user, items in LISTS.items() for rank, item in enumerate(items, 1)}
    expected |= {(LATER, "u0001", 1, "p100"), (LATER, "u0003", 1, "p017")}
    assert {(r["as_of_date"], r["user_id"], r["rank"], r["item_id"]) for r in rows} == expected
    assert {row["net"] for row in rows} == {1}
    changes = run_python(PYTHON[4], published, monkeypatch)["changes"]
    assert changes.num_rows == len(expected)


# views


@pytest.fixture
def catalogue(spark: SparkSession, tmp_path: Path) -> Iterator[Lakehouse]:
    spark.sql(f"CREATE SCHEMA {SCHEMA} LOCATION '{tmp_path}/tables'")
    store = StoreConfig(
        catalog="spark_catalog",
        schema_name=SCHEMA,
        staging=str(tmp_path / "staging"),
        report_folder=str(tmp_path / "report"),
    )
    yield Lakehouse(spark, store, "run-1", datetime(2026, 1, 1, tzinfo=UTC))
    spark.sql(f"DROP SCHEMA {SCHEMA} CASCADE")


@pytest.mark.slow
def test_views_of_a_catalogue_follow_the_current_slice(catalogue: Lakehouse, published: Published) -> None:
    spark = catalogue.spark
    query = SQL[1].replace("main.mmrec", f"spark_catalog.{SCHEMA}")
    assert ensure_current_views(catalogue, NAMES) == []
    publish(catalogue, LATER, {"u0001": ["p100"]}, version="6", num_items=2)
    # Tables that were not made yet get their view when they are.
    assert ensure_current_views(catalogue, NAMES) == ["user_topk_current", "item_vector_current"]
    assert [row["item_id"] for row in spark.sql(query).collect()] == ["p100"]
    publish(catalogue, DAY, LISTS)
    assert ensure_current_views(catalogue, NAMES) == []
    assert [row["item_id"] for row in spark.sql(query).collect()] == LISTS["u0001"]
    assert spark.table(f"{SCHEMA}.item_vector_current").count() == 4
    # A view from before a column came is made anew.
    spark.sql(f"CREATE OR REPLACE VIEW {SCHEMA}.user_topk_current AS SELECT user_id FROM {SCHEMA}.user_topk")
    assert ensure_current_views(catalogue, NAMES) == ["user_topk_current"]
    assert ensure_current_views(published.lakehouse, NAMES) == [], "path mode has no views"


# exports


def test_lists_in_array_form_are_best_first(published: Published) -> None:
    rows = {row["key"]: row for row in lists_by_key(published.lakehouse, "user_topk").collect()}
    assert {key: row["items"] for key, row in rows.items()} == {f"user:{u}": items for u, items in LISTS.items()}
    assert rows["user:u0001"]["scores"] == [-1.0, -2.0, -3.0]
    near = {row["key"]: row["items"] for row in lists_by_key(published.lakehouse, "item_neighbor").collect()}
    assert near == {f"item:{item}": others for item, others in NEIGHBORS.items()}


@pytest.mark.slow
def test_exports_have_lists_hashes_and_a_pointer_and_old_ones_go(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = published.folder / "out" / "demo" / "export"
    config = ExportConfig()
    assert not is_exported(published.lakehouse, config)
    assert export_lists(published.tables("run-2"), config) == {"user_topk": 2, "item_neighbor": 2}
    assert is_exported(published.lakehouse, config)

    latest = json.loads((root / "user_topk" / "parquet" / "latest.json").read_text())
    assert latest["folder"] == "2025-10-01-7-run-2"
    assert {name: latest[name] for name in ("table", "format", "as_of_date", "model_version", "rows", "run_id")} == {
        "table": "user_topk",
        "format": "parquet",
        "as_of_date": "2025-10-01",
        "model_version": "7",
        "rows": 2,
        "run_id": "run-2",
    }
    folder = root / "user_topk" / "parquet" / latest["folder"]
    assert {path.name for path in folder.iterdir()} == {"manifest.json", *(f["name"] for f in latest["files"])}
    for file in latest["files"]:
        assert hashlib.sha256((folder / file["name"]).read_bytes()).hexdigest() == file["sha256"]
    stored = [row for file in latest["files"] for row in pq.read_table(folder / file["name"]).to_pylist()]
    assert {row["key"]: row["items"] for row in stored} == {f"user:{user}": items for user, items in LISTS.items()}

    commands = run_python(*examples(EXPORTING, "python"), published, monkeypatch)["commands"]
    assert sorted(commands) == [("SET", f"user:{user}", json.dumps(items)) for user, items in LISTS.items()]
    (shown,) = examples(EXPORTING, "json")
    lines = root / "user_topk" / "jsonl" / latest["folder"]
    line = json.loads(next(one for path in lines.glob("part-*") for one in path.read_text().splitlines()))
    assert list(line) == list(json.loads(shown)) and line["as_of_date"] == "2025-10-01"

    # What the user put there stays; of ours the newest two do.
    (root / "user_topk" / "jsonl" / "mine").mkdir()
    for run in ("run-3", "run-4"):
        export_lists(published.tables(run), config)
    left = {path.name for path in (root / "user_topk" / "jsonl").iterdir()}
    assert left == {"latest.json", "mine", "2025-10-01-7-run-3", "2025-10-01-7-run-4"}
    next((root / "item_neighbor" / "jsonl").glob("*-run-4/part-*")).unlink()
    assert not is_exported(published.lakehouse, config)


@pytest.mark.slow
def test_the_job_exports_once_and_again_when_files_are_missing(
    published: Published, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = [
        f"store.out={published.folder}/out/demo",
        f"store.data={published.folder}/landing",
        f"export.folder={tmp_path}/kv",
    ]

    def run() -> dict[str, Any]:
        status = run_main(job.JOB, ["--set", *pairs, "export.formats=[jsonl]", "export.tables=[user_topk]"])
        said = capsys.readouterr()
        assert status == 0, said.err
        return dict(json.loads(said.out.splitlines()[-1]))

    first = run()
    assert (first["status"], first["message"]) == ("succeeded", "2 lists of user_topk")
    assert run()["status"] == "skipped"
    (tmp_path / "kv" / "user_topk" / "jsonl" / "latest.json").unlink()
    assert run()["status"] == "succeeded"


def test_without_a_publishing_there_is_nothing_to_export(lakehouse: Lakehouse) -> None:
    with pytest.raises(NoDataError, match="nothing was published yet"):
        export_lists(lakehouse, ExportConfig())
    assert not (Path(str(lakehouse.store.out)) / "export").exists()


def test_old_exports_go_by_their_time_and_the_newest_stays() -> None:
    finished = [(3, "c"), (1, "a"), (2, "b"), (9, "clock-ahead")]
    assert expired(finished, "c", 1) == ["clock-ahead", "b", "a"]
    assert expired(finished, "c", 2) == ["b", "a"]
    assert expired([(1, "a")], "a", 1) == []


@pytest.mark.parametrize(
    "wrong", [{"formats": []}, {"formats": ["csv"]}, {"tables": ["user"]}, {"keep": 0}, {"folder": "s3://bucket/x"}]
)
def test_exports_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ExportConfig.model_validate(wrong)
