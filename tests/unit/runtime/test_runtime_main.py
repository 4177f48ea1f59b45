"""The command line that every job shares: flags, exit codes, the last line; nothing here starts Spark."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmrec_lib.config import Section
from mmrec_lib.errors import ConfigError, LandingError, MmrecError
from mmrec_lib.lakehouse.store import locked
from mmrec_lib.runtime import main
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import job_config, make_parser, parse_command, run_main
from mmrec_lib.runtime.settings import Settings
from mmrec_lib.scoring.config import ScoringConfig
from tests.conftest import PROJECT


class Config(Section):
    """The one section that the job of these tests reads."""

    scoring: ScoringConfig


def run(context: Context, config: Config) -> Outcome:
    """Never called: every test here ends before a job runs."""
    raise AssertionError("the job must not run")


JOB = Job(name="some_job", summary="does something", config=Config, reads=(), writes=(), run=run)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job's logging and conf folder are those of the project, not of this test."""

    def conf_root(function: object) -> Path:
        return PROJECT / "conf"

    monkeypatch.setattr(main, "configure_logging", lambda *_: None)
    monkeypatch.setattr(main, "conf_root_of", conf_root)

    def no_spark(*_: object, **__: object) -> None:
        raise AssertionError("Spark must not start")

    monkeypatch.setattr(main, "build_session", no_spark)


def last_line(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    captured = capsys.readouterr()
    return json.loads(captured.out.strip().splitlines()[-1]), captured.err


def parse(*argv: str) -> main.Command:
    return parse_command(make_parser("some_job", "does something"), argv, PROJECT / "conf")


# flags


def test_without_flags_everything_is_a_default() -> None:
    command = parse()
    assert command.as_of is None
    assert not (command.force or command.dry_run or command.print_config)
    assert command.settings.scoring.k == 50


def test_set_takes_several_pairs_and_may_be_repeated() -> None:
    settings = parse("--set", "scoring.k=7", "training.seed=3", "--set", "scoring.num_neighbors=2").settings
    assert (settings.scoring.k, settings.training.seed, settings.scoring.num_neighbors) == (7, 3, 2)


@pytest.mark.parametrize(("text", "expected"), [("2025-10-01", date(2025, 10, 1)), ("latest", None), ("", None)])
def test_as_of_is_a_date_or_latest(text: str, expected: date | None) -> None:
    assert parse("--as-of", text).as_of == expected


@pytest.mark.parametrize("argv", [["--frobnicate"], ["--as-of", "yesterday"], ["--as-of", "2025-02-30"], ["stray"]])
def test_a_wrong_command_line_exits_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run_main(JOB, argv)
    assert caught.value.code == 2
    summary, sentence = last_line(capsys)
    assert argv[-1] in sentence
    assert (summary["job"], summary["status"], summary["error"]) == ("some_job", "failed", "UsageError")


def test_print_config_prints_the_sections_of_the_job_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(JOB, ["--set", "scoring.k=7", "--print-config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert set(printed) == {"scoring"}
    assert printed["scoring"]["k"] == 7


def test_a_job_gets_its_sections() -> None:
    settings = Settings(scoring=ScoringConfig(k=3))
    assert job_config(JOB, settings) == Config(scoring=ScoringConfig(k=3))


# failures: exit status 1, a sentence for a person, JSON for a program


def test_a_wrong_configuration_exits_with_1_and_says_so_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(JOB, ["--set", "scoring.kk=1"]) == 1
    summary, sentence = last_line(capsys)
    assert summary == {"job": "some_job", "status": "failed", "error": "ConfigError", "message": summary["message"]}
    assert "did you mean `k`?" in summary["message"]
    assert sentence.strip() == f"some_job: {summary['message']}"


def store_flags(tmp_path: Path, **changes: str) -> list[str]:
    (tmp_path / "landing").mkdir(exist_ok=True)
    (tmp_path / "landing" / "items.jsonl").write_text("{}\n", encoding="utf-8")
    pairs = {"store.data": str(tmp_path / "landing"), "store.out": str(tmp_path / "out"), **changes}
    return ["--set", *(f"{key}={value}" for key, value in pairs.items())]


def test_a_missing_landing_folder_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = store_flags(tmp_path, **{"store.data": str(tmp_path / "nowhere")})
    assert run_main(JOB, flags) == 1
    summary, _ = last_line(capsys)
    assert summary["error"] == "LandingError"
    assert "nowhere" in summary["message"]
    assert not (tmp_path / "out").exists()


def test_a_store_of_another_format_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    card = {"format_version": 99, "data": str(tmp_path / "landing"), "library_version": "9.9"}
    (tmp_path / "out" / "store.json").write_text(json.dumps(card), encoding="utf-8")
    assert run_main(JOB, store_flags(tmp_path)) == 1
    summary, _ = last_line(capsys)
    assert summary["error"] == "StoreError"
    assert "format 99" in summary["message"]


def test_a_locked_store_names_its_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_session(*_: object, **__: object) -> None:
        return None

    monkeypatch.setattr(main, "build_session", no_session)
    command = parse(*store_flags(tmp_path))
    with locked(command.settings.store):
        assert run_main(JOB, store_flags(tmp_path)) == 1
    summary, _ = last_line(capsys)
    assert "is in use by process" in summary["message"]


def test_catalogue_and_folder_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not both"):
        parse(*store_flags(tmp_path, **{"store.catalog": "main"}))


@pytest.mark.parametrize(
    "places",
    [{"store.out": "s3://bucket/out"}, {"store.out": "s3://bucket/out", "store.report_folder": "s3://bucket/report"}],
)
def test_a_report_needs_a_folder_of_this_machine(tmp_path: Path, places: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"store\.report_folder: report\.html and summary\.json need a folder"):
        parse(*store_flags(tmp_path, **places))
    folder = str(tmp_path / "report")
    assert (
        parse(*store_flags(tmp_path, **places | {"store.report_folder": folder})).settings.store.publish_root == folder
    )


@pytest.mark.parametrize("error", [ConfigError("x"), LandingError("y")])
def test_fail_tells_a_person_and_a_program(error: MmrecError, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.fail("some_job", error) == 1
    summary, sentence = last_line(capsys)
    assert summary["error"] == type(error).__name__
    assert sentence == f"some_job: {error}\n"
