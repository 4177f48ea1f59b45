"""The quick part of `make faults`: tables that vanish or are half made, and disks that fill, with the ingest alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs import assemble_snapshot, ingest_landing
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.lakehouse.staging import MARKER
from mmrec_lib.lakehouse.store import create_card, locked, noted_tables
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.runtime.job import Job
from mmrec_lib.runtime.main import run_main
from tests.chaos import small_disk
from tests.compare import table_rows


@dataclass
class Shop:
    """A landing folder with three items and five events, and its OUT."""

    data: Path
    out: Path
    capsys: pytest.CaptureFixture[str]

    def run(self, job: Job[Any] = ingest_landing.JOB) -> tuple[int, dict[str, Any], str]:
        """Run a job; returns exit status, JSON and what a person saw."""
        status = run_main(job, ["--set", f"store.data={self.data}", f"store.out={self.out}"])
        shown = self.capsys.readouterr()
        return status, json.loads(shown.out.strip().splitlines()[-1]), shown.err

    def ids(self, table: str) -> set[str]:
        """Keys of a table."""
        return {row[f"{table}_id"] for row in table_rows(self.out, table, [f"{table}_id"]).to_pylist()}

    def remove(self, *tables: str) -> None:
        """Remove tables by hand."""
        for table in tables:
            shutil.rmtree(self.out / "tables" / table)


ITEMS, EVENTS = {"a", "b", "c"}, {"e0", "e1", "e2", "e3", "e4"}


def write_landing(data: Path) -> None:
    """The landing folder of a shop."""
    data.mkdir()
    items = [{"item_id": item, "title": f"thing {item}"} for item in sorted(ITEMS)]
    events = [
        {"event_id": f"e{k}", "user_id": "u", "item_id": "abc"[k % 3], "event_type": "view", "ts": 1_750_000_000 + k}
        for k in range(5)
    ]
    for name, rows in (("items.jsonl", items), ("events.jsonl", events)):
        (data / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def shop(spark: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shop:
    """A shop that was never ingested."""
    write_landing(tmp_path / "landing")
    return Shop(tmp_path / "landing", tmp_path / "out", capsys)


@pytest.fixture(scope="module")
def ingested(spark: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a shop that was ingested once, with its OUT."""
    folder = tmp_path_factory.mktemp("ingested") / "shop"
    folder.mkdir()
    write_landing(folder / "landing")
    flags = ["--set", f"store.data={folder / 'landing'}", f"store.out={folder / 'out'}"]
    assert run_main(ingest_landing.JOB, flags) == 0
    return folder


@pytest.fixture
def ready(ingested: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shop:
    """A copy of the ingested shop."""
    shutil.copytree(ingested, tmp_path / "copy")
    capsys.readouterr()
    return Shop(tmp_path / "copy" / "landing", tmp_path / "copy" / "out", capsys)


def leave_half_made(folder: Path) -> None:
    """Make what a run leaves that is killed between the log folder of a table and its first commit."""
    (folder / "_delta_log").mkdir(parents=True)
    (folder / "_delta_log" / f".{0:020d}.json.7a1c.tmp").write_text('{"commitInfo"', encoding="utf-8")


@pytest.mark.slow
def test_half_made_tables_and_tables_that_vanish_are_made_whole(shop: Shop) -> None:
    # The card comes before the first table, so that a killed run's store is known as one.
    store = StoreConfig(data=str(shop.data), out=str(shop.out))
    with locked(store):
        create_card(store)
    for name in ("item", "event", "landing_file", "job_run"):
        leave_half_made(shop.out / "tables" / name)
    status, answer, _ = shop.run()
    assert (status, shop.ids("item"), shop.ids("event")) == (0, ITEMS, EVENTS), answer
    assert {"item", "event", "landing_file", "job_run"} <= set(noted_tables(store))

    # Whoever only reads what vanished says so instead of going on with nothing.
    shop.remove("event", "item")
    status, answer, _ = shop.run(assemble_snapshot.JOB)
    assert (status, answer["error"]) == (1, "StoreError")
    assert "event (gone; ingest_landing left version" in answer["message"]
    assert "run ingest_landing again" in answer["message"]
    status, answer, shown = shop.run()
    assert (status, shop.ids("item"), shop.ids("event")) == (0, ITEMS, EVENTS), answer
    assert "made anew: event (gone; ingest_landing left version" in answer["message"]
    assert "WARNING mmrec_lib.runtime.job: made anew: event" in shown
    reconciliation = table_rows(shop.out, "landing_file").to_pylist()
    assert [(row["num_read"], row["num_stored"]) for row in sorted(reconciliation, key=lambda row: row["path"])] == [
        (5, 5),
        (3, 3),
    ]
    assert shop.run()[1]["status"] == "skipped"

    # The ledger is gone too: store.json knows of both.
    shop.remove("job_run", "item")
    status, answer, shown = shop.run()
    assert (status, shop.ids("item")) == (0, ITEMS), answer
    assert "item (gone; an earlier run wrote it)" in answer["message"]
    assert "table job_run is gone" in shown


@pytest.mark.slow
def test_a_lost_table_whose_files_are_gone_or_were_changed_is_named_and_left_alone(ready: Shop) -> None:
    whole = (ready.data / "events.jsonl").read_bytes()
    (ready.data / "events.jsonl").write_bytes(whole.replace(b"e4", b"e9"))
    assert ready.run()[0] == 0
    ready.remove("event")
    status, answer, _ = ready.run()
    assert (status, answer["error"]) == (1, "StoreError")
    assert "events.jsonl" in answer["message"] and "from a backup" in answer["message"]
    assert not (ready.out / "tables" / "event").exists()
    assert len(table_rows(ready.out, "landing_file").to_pylist()) == 3
    # Items can be made again all the same, once the events are back.
    (ready.data / "items.jsonl").rename(ready.data / "away")
    ready.remove("item")
    assert "items.jsonl" in ready.run()[1]["message"]


@pytest.mark.slow
def test_a_cut_log_is_told_and_mended_by_moving_the_table_away(ready: Shop) -> None:
    newest = max((ready.out / "tables" / "event" / "_delta_log").glob("*.json"))
    newest.write_bytes(newest.read_bytes()[:40])
    status, answer, shown = ready.run()
    assert (status, answer["error"]) == (1, "StoreError")
    assert "Table event: its log" in answer["message"] and "is cut short" in answer["message"]
    assert "Traceback" not in shown
    # A run that failed before it began is in the books of runs too.
    runs = table_rows(ready.out, "job_run", ["status", "message", "started_at"]).to_pylist()
    newest_run = max(runs, key=lambda row: row["started_at"])
    assert (newest_run["status"], newest_run["message"]) == ("failed", f"StoreError: {answer['message']}")
    (ready.out / "tables" / "event").rename(ready.data.parent / "event")
    assert ready.run()[0] == 0
    assert ready.ids("event") == EVENTS


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [8, 300])
def test_a_disk_that_fills_is_told_and_the_next_run_mends_it(shop: Shop, kilobytes: int) -> None:
    with small_disk(shop.out, kilobytes, pytest.skip.Exception) as grow:
        status, answer, shown = shop.run()
        assert (status, answer["error"]) == (1, "MachineError"), answer
        assert "disk is full" in answer["message"] and f"{shop.out}: " in answer["message"]
        assert "Traceback" not in shown
        grow(100_000)
        status, answer, _ = shop.run()
        assert (status, shop.ids("item"), shop.ids("event")) == (0, ITEMS, EVENTS), answer


def test_a_half_made_table_of_a_catalogue_is_made_again(lakehouse: Lakehouse, tmp_path: Path) -> None:
    spark, schema = lakehouse.spark, tmp_path / "schema"
    spark.sql(f"CREATE SCHEMA mmrec_faults LOCATION '{schema}'")
    places = {"staging": str(tmp_path / "staging"), "report_folder": str(tmp_path)}
    store = StoreConfig(catalog="spark_catalog", schema_name="mmrec_faults", **places)
    try:
        leave_half_made(schema / "graph_edge")
        house = Lakehouse(spark, store, "run-2", lakehouse.written_at)
        house.ensure("graph_edge")
        assert house.exists("graph_edge") and house.read("graph_edge").count() == 0
    finally:
        spark.sql("DROP SCHEMA mmrec_faults CASCADE")


def test_a_killed_runs_staging_goes_in_catalogue_mode_and_a_living_runs_stays(
    lakehouse: Lakehouse, tmp_path: Path
) -> None:
    places = {"staging": str(tmp_path / "shared"), "report_folder": str(tmp_path)}
    store = StoreConfig(catalog="spark_catalog", schema_name="any", **places)
    runs = [Lakehouse(lakehouse.spark, store, name, lakehouse.written_at) for name in ("killed", "alive", "now")]
    killed, alive = (Path(run.stage_path("rows", lakehouse.spark.range(3))).parent for run in runs[:2])
    (tmp_path / "shared" / "thesis.tex").touch()
    marker = json.loads((killed / MARKER).read_text(encoding="utf-8"))
    marker["process"]["start"] = "before this process got the id"
    (killed / MARKER).write_text(json.dumps(marker), encoding="utf-8")
    runs[2].remove_stale_staging(holds_lock=False)
    assert not killed.exists()
    assert (alive / "rows-1").is_dir() and (tmp_path / "shared" / "thesis.tex").exists()
    runs[1].remove_staging()
    assert not alive.exists()
