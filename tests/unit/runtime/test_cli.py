from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import mmrec_lib
from mmrec_lib.errors import ConfigError
from mmrec_lib.runtime import cli, search_server
from mmrec_lib.runtime.graph import load_graph
from tests.conftest import PROJECT

TASKS = load_graph(PROJECT / "resources" / "pipeline.job.yml")
HEAVY = {"torch", "sklearn", "matplotlib", "transformers", "numba", "cv2", "openvino", "rapidocr", "faiss"}
JOB = """
from mmrec_lib.section import Section
from mmrec_lib.runtime.job import Job, Outcome

def run(context, config):
    raise AssertionError("never run here")

JOB = Job(name="NAME", summary="does NAME", config=Section, reads=(), writes=(), run=run)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "resources").mkdir()
    for name in ("score_all", "clean_up"):
        (tmp_path / "jobs" / f"{name}.py").write_text(JOB.replace("NAME", name), encoding="utf-8")
    task = {"task_key": "score_all", "spark_python_task": {"python_file": "../jobs/score_all.py"}}
    graph = {"resources": {"jobs": {"pipeline": {"tasks": [task]}}}}
    (tmp_path / "resources" / "pipeline.job.yml").write_text(json.dumps(graph), encoding="utf-8")
    runner = "def main(argv):\n    print('ran with', argv)\n    return 7\n"
    (tmp_path / "jobs" / "run_pipeline.py").write_text(runner, encoding="utf-8")
    return tmp_path


def test_a_project_is_found_from_any_folder_in_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "deep" / "down").mkdir(parents=True)
    monkeypatch.delenv("MMREC_PROJECT", raising=False)
    assert cli.find_project(None, project / "deep" / "down") == project
    monkeypatch.setenv("MMREC_PROJECT", str(PROJECT))
    assert cli.find_project(None, project) == PROJECT
    assert cli.find_project(str(project), PROJECT) == project


def test_where_there_is_no_project_the_command_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MMREC_PROJECT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["jobs"]) == 1
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert answer["error"] == "ConfigError"
    assert "--project" in answer["message"] and str(tmp_path) in answer["message"]


def test_jobs_are_listed_in_the_order_of_the_pipeline(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--project", str(project), "jobs"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["score_all", "does", "score_all"],
        ["clean_up", "does", "clean_up"],
    ]


def test_an_unknown_job_is_answered_with_the_known_ones(project: Path) -> None:
    with pytest.raises(ConfigError, match=r"score_all, clean_up.*got 'score'"):
        cli.find_job(project, "score")


def test_run_hands_its_flags_on_and_returns_the_status(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--project", str(project), "run", "--set", "training.seed=1", "--force"]) == 7
    assert "['--set', 'training.seed=1', '--force']" in capsys.readouterr().out


@pytest.mark.parametrize(("command", "flags"), [("job", ["--force"]), ("explain", ["--force", "--dry-run"])])
def test_a_job_runs_with_its_flags_and_explain_only_plans(
    project: Path, monkeypatch: pytest.MonkeyPatch, command: str, flags: list[str]
) -> None:
    calls = []
    monkeypatch.setattr(cli, "run_main", lambda job, argv: calls.append((job.name, argv)) or 0)
    assert cli.main(["--project", str(project), command, "clean_up", "--force"]) == 0
    assert calls == [("clean_up", flags)]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--port", "70000"], "a port from 0 to 65535 is needed, got 70000"),
        (["--set", "scoring.kk=1"], "scoring.kk"),
        (["--port", "TAKEN"], "cannot be listened on"),
        (["--host", "no.such.host.invalid"], "cannot be listened on"),
    ],
)
def test_the_search_page_says_what_is_wrong_before_anything_is_opened(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, flags: list[str], said: str
) -> None:
    monkeypatch.setattr(search_server, "build_session", None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status = cli.main(["--project", str(PROJECT), "search", *(port if flag == "TAKEN" else flag for flag in flags)])
    assert status == 1
    assert said in json.loads(capsys.readouterr().out.splitlines()[-1])["message"]


def test_every_public_name_is_there() -> None:
    assert {name for name in mmrec_lib.__all__ if getattr(mmrec_lib, name, None) is None} == set()
    assert set(mmrec_lib.__all__) <= set(dir(mmrec_lib))
    with pytest.raises(AttributeError, match="open_lakehouse"):
        mmrec_lib.open_lake  # noqa: B018


@pytest.mark.parametrize(
    ("imports", "heavy"),
    [
        ("mmrec_lib", {"torch", "pyspark", "mlflow", "numpy"}),
        # A run that finds nothing to do has loaded all jobs, and nothing that only work needs.
        ("jobs.run_pipeline, " + ", ".join(f"jobs.{task.key}" for task in TASKS), HEAVY),
    ],
)
def test_what_is_imported_before_there_is_work_is_light(imports: str, heavy: set[str]) -> None:
    code = f"import {imports}, sys; print(sorted({heavy!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert found.stdout.strip() == "[]"
