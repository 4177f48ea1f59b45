"""Situations of real exports, people and machines: one landing folder that holds it all, one ingest, known answers."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deltalake import DeltaTable

from jobs import ingest_landing, run_pipeline
from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.media.audio import decode_audio
from mmrec_lib.runtime import main as runtime_main
from mmrec_lib.runtime.main import run_main
from tests.compare import table_rows, versions
from tests.data.situations import (
    DAYS,
    FAR_AHEAD,
    IDENTITY_ROWS,
    NUM_WAITING,
    NUM_WAITING_FOREVER,
    ODD_FILES,
    SECRET,
    UNREAD,
    Answer,
    Landing,
    Refused,
    csv_lines,
    deliver_second,
    event,
    media_files,
    opposite_channels,
    touch_all,
    write_situations,
    write_small_shop,
)

pytestmark = pytest.mark.slow

# Half of the folder is broken on purpose; the gates have a test of their own.
_OPEN_GATE = ("ingest.max_quarantine_share=1.0",)
_NO_MODELS = (
    *(f"embedding.encode.item.{name}=null" for name in ("title", "description", "transcript", "ocr", "labels", "tags")),
    *(f"embedding.encode.item.{name}=null" for name in ("images", "audio", "video")),
    "embedding.encode.review.text=null",
    *(f"embedding.extract.images.{name}=null" for name in ("ocr", "labels")),
    *(f"embedding.extract.{media}.{name}=null" for media in ("audio", "video") for name in ("transcript", "tags")),
)
_KEYS = {"graph_edge": ("head", "relation", "tail"), "provided_vector": ("item_id", "modality", "encoder_id")}


@dataclass
class Run:
    """One finished run: what it printed and logged, and the tables after it."""

    status: int
    printed: str
    log: str
    tables: dict[str, list[dict[str, Any]]]
    versions: dict[str, int]

    @cached_property
    def result(self) -> dict[str, Any]:
        """The JSON that the job printed last."""
        return json.loads(self.printed.strip().splitlines()[-1])  # type: ignore[no-any-return]

    @property
    def told(self) -> str:
        """Everything a person could read of the run: output, log, and the details in quarantine."""
        details = (f"{row['source_path']}: {row['detail']}" for row in self.tables["quarantine"])
        return "\n".join([self.printed, self.log, *details])

    @cached_property
    def by_key(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Rows by table and key."""
        return {
            (name, "|".join(str(row[key]) for key in _KEYS.get(name, CONTRACTS[name].key))): row
            for name in ("event", "review", "item", "user", "graph_edge", "provided_vector")
            for row in self.tables[name]
        }

    @cached_property
    def quarantined(self) -> dict[str, list[dict[str, Any]]]:
        """Quarantine rows by landing file."""
        rows = defaultdict(list)
        for row in self.tables["quarantine"]:
            rows[row["source_path"] or ""].append(row)
        return rows

    def refusals(self, refused: Refused) -> list[dict[str, Any]]:
        """Quarantine rows that fit."""
        rows = [
            row
            for path, found in self.quarantined.items()
            if path == refused.path or path.startswith(f"{refused.path}/")
            for row in found
        ]
        return [
            row
            for row in rows
            if (refused.line is None or row["source_line"] == refused.line)
            and (not refused.words or any(word in row["detail"].lower() for word in refused.words))
        ]


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, list) and value and isinstance(value[0], tuple) else value


def _has(row: dict[str, Any], columns: dict[str, Any]) -> str:
    """Columns that differ; empty when none does."""
    wrong = []
    for name, expected in columns.items():
        got = _plain(row[name])
        if name == "attributes":
            found = {key: (got or {}).get(key) for key in expected}
            if found != expected:
                wrong.append(f"attributes {got} instead of {expected}")
        elif name == "categories" and expected is None:
            if got:
                wrong.append(f"{name} {got!r} instead of nothing")
        elif got != expected:
            wrong.append(f"{name} {got!r} instead of {expected!r}")
    return "; ".join(wrong)


def faults_of(answer: Answer, run: Run) -> list[str]:
    """Differences between a run and its answer, a line each."""
    faults = []
    for key, columns in answer.rows.items():
        row = run.by_key.get(key)
        if row is None:
            faults.append(f"{key} is not stored")
        elif wrong := _has(row, columns):
            faults.append(f"{key}: {wrong}")
    faults += [f"{key} is stored" for key in answer.absent if key in run.by_key]
    faults += [f"{refused} is not in quarantine" for refused in answer.refused if not run.refusals(refused)]
    reconciliation = {row["path"]: row for row in run.tables["landing_file"] if row["record_kind"] != "file"}
    reconciliation |= {row["path"]: row for row in run.tables["landing_file"] if row["path"] not in reconciliation}
    for path, num_read in answer.reconciliation.items():
        if path not in reconciliation:
            faults.append(f"{path} has no books")
        elif num_read is not None and reconciliation[path]["num_read"] != num_read:
            faults.append(f"{path}: {reconciliation[path]['num_read']} records read instead of {num_read}")
    for path in answer.clean:
        if found := run.quarantined.get(path):
            faults.append(f"{path}: {len(found)} in quarantine, such as {found[0]['detail']}")
    for path, most in answer.at_most.items():
        if len(found := run.quarantined.get(path, [])) > most:
            faults.append(f"{path}: {len(found)} in quarantine, at most {most} are right")
    return faults + _neither(answer, run)


def _neither(answer: Answer, run: Run) -> list[str]:
    """Records of an open fate that are neither stored as they should nor in quarantine."""
    faults = []
    for table, key_text, columns, refused in answer.either:
        row = run.by_key.get((table, key_text))
        if row is None and not run.refusals(refused):
            faults.append(f"{key_text} is neither stored nor in quarantine as {refused}")
        elif row is not None and (wrong := _has(row, columns)):
            faults.append(f"{key_text}: {wrong}")
    return faults


@dataclass
class Situations:
    """The landing folder and its runs."""

    landing: Landing
    out: Path
    second_answers: dict[str, dict[str, Answer]] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)

    def run(self, *settings: str) -> Run:
        """Ingest what is new."""
        pairs = [f"store.data={self.landing.folder}", f"store.out={self.out}", *_OPEN_GATE, *settings]
        run = _run(lambda: run_main(ingest_landing.JOB, ["--set", *pairs]), self.out)
        self.runs.append(run)
        return run

    def check(self, kind: str, second: bool = False) -> None:
        """Compare a finished run with the answers of a kind."""
        run = self.runs[1 if second else 0]
        assert run.status == 0, run.printed[-2000:]
        answers = (self.second_answers if second else self.landing.answers)[kind]
        found = {situation: faults_of(answer, run) for situation, answer in answers.items()}
        faults = [f"{situation}: {fault}" for situation, lines in found.items() for fault in lines]
        assert not faults, f"{len(faults)} faults in {sum(map(bool, found.values()))} of {len(found)}:\n" + "\n".join(
            faults
        )


def _run(job: Callable[[], int], out: Path) -> Run:
    log, printed = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(log):
            status = job()
    except Exception as error:  # a trace instead of a sentence is a fault of its own, which every test then names
        status = -1
        printed.write(f"{type(error).__name__}: {error}")
    finally:
        logging.getLogger().removeHandler(handler)
    tables = {name: _rows(out, name) for name in CONTRACTS}
    return Run(status, printed.getvalue(), log.getvalue(), tables, versions(out))


def _rows(out: Path, name: str) -> list[dict[str, Any]]:
    there = (out / "tables" / name / "_delta_log").is_dir()
    return table_rows(out, name).to_pylist() if there else []


@contextlib.contextmanager
def clock_set_back(by: timedelta) -> Iterator[None]:
    """The clock of runs, set back."""

    class Earlier(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) - by

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime_main, "datetime", Earlier)
        yield


@pytest.fixture(scope="module")
def situations(spark: object, tmp_path_factory: pytest.TempPathFactory) -> Situations:
    """Three runs: everything new; what arrives later, with the clock two days back; every file touched."""
    folder = tmp_path_factory.mktemp("situations")
    made = Situations(write_situations(folder / "landing"), folder / "out")
    if made.run().status != 0:
        return made
    made.second_answers = deliver_second(made.landing)
    with clock_set_back(timedelta(days=2)):
        made.run()
    touch_all(made.landing)
    made.run()
    return made


def test_one_run_over_all_situations_succeeds(situations: Situations) -> None:
    assert [run.status for run in situations.runs] == [0, 0, 0], situations.runs[-1].printed[-3000:]


@pytest.mark.parametrize(
    ("kind", "is_second"),
    [
        pytest.param("csv", False, id="csv_of_other_shapes_loses_no_lines"),
        pytest.param("json", False, id="json_arrays_are_read"),
        pytest.param("encodings", False, id="gzip_is_read_and_other_encodings_get_one_sentence"),
        pytest.param("paths", False, id="words_in_paths_are_fields"),
        pytest.param("table formats", False, id="table_formats_are_read_as_tables_or_refused_by_name"),
        pytest.param("table formats", True, id="the_next_version_of_a_table_format_is_read"),
        pytest.param("ids", False, id="ids_of_every_type_are_read_and_what_is_no_id_is_refused"),
        pytest.param("nulls", False, id="spellings_of_null_are_null_in_optional_fields_and_refused_in_keys"),
        pytest.param("values", False, id="values_whose_meaning_is_plain_are_read"),
        pytest.param("times", False, id="times_of_every_spelling_are_read_and_units_are_named"),
        pytest.param("damaged", False, id="a_damaged_file_or_page_costs_itself_alone"),
    ],
)
def test_situations_of_a_kind_end_as_their_answers_say(situations: Situations, kind: str, is_second: bool) -> None:
    situations.check(kind, second=is_second)


def test_a_header_of_2_mb_is_kept_once_a_file(situations: Situations) -> None:
    rows = situations.runs[0].quarantined["events/wide.csv"]
    assert rows and sum(len(row["raw"] or b"") for row in rows) < 8_000_000


def test_identity_does_not_depend_on_extras(situations: Situations) -> None:
    situations.check("identity")
    users = [f"same-{number}" for number in range(IDENTITY_ROWS)]
    counts = Counter(row["user_id"] for row in situations.runs[0].tables["event"])
    assert {user: counts[user] for user in users} == dict.fromkeys(users, 1)
    reviews = [row for row in situations.runs[0].tables["review"] if row["user_id"] == "same-0"]
    assert len(reviews) == 1


def test_a_redelivery_that_shares_nothing_is_worth_a_warning(situations: Situations) -> None:
    situations.check("identity", second=True)
    run = situations.runs[1]
    message = f"{run.printed}\n{run.log}"
    assert "events/replaced.jsonl" in message


def test_waiting_changes_no_record(situations: Situations) -> None:
    situations.check("waiting")
    situations.check("waiting", second=True)
    rows = situations.runs[1].by_key
    for number in range(2):
        now, later = rows["event", f"now-{number}"], rows["event", f"later-{number}"]
        for name in ("user_id", "value", "seconds", "event_ts", "attributes"):
            assert later[name] == now[name], f"row {number}, {name}"
    waiting = [row for row in situations.runs[1].tables["quarantine"] if row["waits_for_item_id"] == "nobody"]
    assert len(waiting) == NUM_WAITING_FOREVER
    assert not [row for row in situations.runs[1].tables["quarantine"] if row["waits_for_item_id"] == "late"]


def test_the_message_says_how_many_came_back_and_how_many_wait(situations: Situations) -> None:
    result = situations.runs[1].result
    assert result["counts"]["event.returned"] == NUM_WAITING
    assert result["counts"]["review.returned"] == 1
    waiting = [row for row in situations.runs[1].tables["quarantine"] if row["waits_for_item_id"]]
    told = f"; {NUM_WAITING + 1:,} came back from it, {len(waiting):,} still wait for their item"
    assert told in result["message"], result["message"]


def test_20250701_means_the_same_in_every_format(situations: Situations) -> None:
    run = situations.runs[0]
    outcomes = {day: run.by_key.get(("event", day), {}).get("event_ts") for day in DAYS}
    assert set(outcomes.values()) == {datetime(2025, 7, 1, tzinfo=UTC)}, outcomes
    assert not [row for row in run.tables["quarantine"] if row["record_id"] in DAYS]


def test_nothing_far_ahead_of_the_clock_is_stored(situations: Situations) -> None:
    situations.check("clock")
    limit = situations.landing.now + FAR_AHEAD / 2
    assert max(row["event_ts"] for row in situations.runs[0].tables["event"]) < limit


def test_media_are_what_is_inside_not_what_their_header_says(situations: Situations) -> None:
    run = situations.runs[0]
    links = {row["owner_id"]: row["asset_id"] for row in run.tables["media_link"]}
    assets = {row["asset_id"]: row for row in run.tables["media_asset"]}
    reasons = {row["detail"]: row["reason"] for row in run.tables["quarantine"] if row["record_kind"] == "media"}
    faults = []
    for name, medium in media_files().items():
        asset = assets.get(links.get(f"media-{name}", ""))
        if asset is None:
            faults.append(f"{name}: not stored {[(d, r) for d, r in reasons.items() if name in d]}")
            continue
        if asset["media_kind"] != medium.media_kind:
            faults.append(f"{name}: {asset['media_kind']} instead of {medium.media_kind}")
        if not asset["mime"].startswith(f"{medium.media_kind}/"):
            faults.append(f"{name}: {asset['mime']}")
        if medium.seconds is not None and abs((asset["media_seconds"] or 0) - medium.seconds) > 0.2:
            faults.append(f"{name}: {asset['media_seconds']} seconds instead of {medium.seconds}")
        if medium.size is not None and (asset["width_px"], asset["height_px"]) != medium.size:
            faults.append(f"{name}: {asset['width_px']} x {asset['height_px']} instead of {medium.size}")
    assert not faults, "\n".join(faults)


def test_opposite_channels_are_not_silent() -> None:
    decoded: Any = decode_audio(opposite_channels())
    samples = np.asarray(getattr(decoded, "samples", decoded[0] if isinstance(decoded, tuple) else decoded))
    assert float(np.sqrt(np.mean(samples.astype(np.float64) ** 2))) > 0.1


def test_names_of_media_match_in_any_unicode_form(situations: Situations) -> None:
    owners = {row["owner_id"] for row in situations.runs[0].tables["media_link"]}
    assert {"nfc-record", "nfd-record", "plain-media"} <= owners
    assert {f"odd-media-{number}" for number in range(len(ODD_FILES))} <= owners


def test_small_files_that_unpack_to_gigabytes_are_refused(situations: Situations) -> None:
    situations.check("bombs")
    run = situations.runs[0]
    assert sum(len(row["raw"] or b"") for row in run.quarantined["events/bomb.parquet"]) < 100_000_000


def test_nothing_outside_the_landing_folder_reaches_the_store(situations: Situations) -> None:
    situations.check("machine")
    told = [situations.runs[0].printed, situations.runs[0].log]
    for name in CONTRACTS:
        if (situations.out / "tables" / name / "_delta_log").is_dir():
            told.append(repr(DeltaTable(str(situations.out / "tables" / name)).to_pyarrow_table().to_pylist()))
    assert not any(SECRET in text for text in told)
    assert not [path for path in situations.out.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    links = {row["owner_id"] for row in situations.runs[0].tables["media_link"]}
    assert "media-link" not in links


def test_what_cannot_be_read_is_named(situations: Situations) -> None:
    told = situations.runs[0].told
    assert [name for name in UNREAD if name not in told] == []


def test_odd_names_are_data(situations: Situations) -> None:
    situations.check("names")
    for run in situations.runs:
        assert "\x1b" not in run.printed + run.log


def test_the_books_of_every_file_balance(situations: Situations) -> None:
    for run in situations.runs:
        for row in run.tables["landing_file"]:
            parts = [row[f"num_{part}"] for part in ("stored", "superseded", "duplicates", "quarantined")]
            assert row["num_read"] == sum(parts), row["path"]


def test_a_record_is_stored_or_quarantined_but_never_both(situations: Situations) -> None:
    run = situations.runs[0]
    stored = {(row["source_path"], row["source_line"]) for row in run.tables["event"]}
    refused = {
        (row["source_path"], row["source_line"]) for row in run.tables["quarantine"] if row["record_kind"] == "event"
    }
    assert not stored & refused


def test_touched_files_are_neither_delivered_nor_decoded_again(situations: Situations) -> None:
    second, third = situations.runs[1], situations.runs[2]
    counts = third.result["counts"] or {}
    assert counts.get("file.new", 0) == 0
    # That media are compared by content, and not decoded, is seen in tests/spark/test_ingest_arrivals.py.
    changed = {name for name in second.versions if second.versions[name] != third.versions[name]}
    assert changed <= {"media_link", "landing_file"}


def test_a_file_that_is_mostly_lost_fails_the_job_by_name(spark: object, tmp_path: Path) -> None:
    landing = Landing(tmp_path / "landing")
    landing.write("items.jsonl", [{"item_id": "i1"}])
    header = "event_id,user_id,item_id,event_type,query,ts"
    rows = [f'g{n},u1,i1,view,"open {n},2025-07-01' for n in range(20)]
    landing.write("events/mostly-lost.csv", csv_lines(header, [*rows, "g99,u1,i1,view,x,2025-07-01"]))
    landing.write("events/good.jsonl", [event(f"good-{n}") for n in range(30)])
    pairs = [f"store.data={landing.folder}", f"store.out={tmp_path / 'out'}"]
    run = _run(lambda: run_main(ingest_landing.JOB, ["--set", *pairs]), tmp_path / "out")
    assert run.status == 1
    assert "events/mostly-lost.csv" in run.result["message"]
    assert not run.tables["event"]


@dataclass(frozen=True)
class Shop:
    """A small shop that went through every job."""

    run: Run
    known: dict[str, list[str]]
    out: Path


@pytest.fixture(scope="module")
def shop(spark: object, models_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    known = dict(write_small_shop(folder / "landing"))
    pairs = [
        f"store.data={folder / 'landing'}",
        f"store.out={folder / 'out'}",
        f"models.root={models_root}",
        *_NO_MODELS,
    ]
    run = _run(lambda: run_pipeline.main(["--set", *pairs]), folder / "out")
    return Shop(run, known, folder / "out")


@pytest.mark.long
def test_a_shop_of_reviews_alone_ends_with_lists_and_a_report(shop: Shop) -> None:
    assert shop.run.status == 0, shop.run.printed[-3000:] + shop.run.log[-2000:]
    assert shop.run.tables["user_topk"]
    assert (shop.out / "report.html").is_file()
    assert shop.run.tables["training_interaction"]


@pytest.mark.long
def test_deleted_users_and_items_reach_nothing(shop: Shop) -> None:
    assert shop.run.status == 0, shop.run.printed[-1000:]
    users, items = set(shop.known["deleted_users"]), set(shop.known["deleted_items"])
    for name in ("user", "training_interaction", "training_user", "user_profile", "user_topk", "user_vector"):
        if name in shop.run.tables:
            assert not {row["user_id"] for row in shop.run.tables[name]} & users, name
    for name in ("item", "training_interaction", "training_item", "item_neighbor", "user_topk", "item_vector"):
        if name in shop.run.tables:
            assert not {row["item_id"] for row in shop.run.tables[name]} & items, name
    assert not {item for row in shop.run.tables["user_profile"] for item in row["seen_item_ids"]} & items


@pytest.mark.long
def test_what_only_a_deleted_user_liked_counts_for_nobody(shop: Shop) -> None:
    assert shop.run.status == 0, shop.run.printed[-1000:]
    only = set(shop.known["only_deleted"])
    assert not {row["item_id"] for row in shop.run.tables["training_interaction"]} & only
    assert not {item["item_id"] for row in shop.run.tables["user_profile"] for item in row["history"]} & only


@pytest.mark.long
def test_markup_is_no_content(shop: Shop) -> None:
    assert shop.run.status == 0, shop.run.printed[-1000:]
    texts = {
        row["owner_id"]: row["text"]
        for row in shop.run.tables["owner_text"]
        if (row["owner_kind"], row["field"]) == ("item", "description")
    }
    clean, marked = shop.known["markup"]
    assert texts[marked] == texts[clean]
    assert "a < b" in texts[marked] and "<3" in texts[marked]
