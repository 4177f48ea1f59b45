"""The bundle, offline: the files parse as Databricks parses them, and the graph is one that can run."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from databricks.bundles.jobs import Job as BundleJob

from mmrec_lib.config import load_config
from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.errors import ConfigError
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.runtime.graph import Task, load_graph
from mmrec_lib.runtime.job import Job
from mmrec_lib.runtime.main import job_config, make_parser
from mmrec_lib.runtime.settings import Settings
from tests.conftest import PROJECT

# MLflow warns about type hints of its own modules when they are first imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")

RESOURCES = sorted((PROJECT / "resources").glob("*.job.yml"))
PIPELINE = PROJECT / "resources" / "pipeline.job.yml"


def job_of(path: Path) -> dict[str, Any]:
    jobs: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["resources"]["jobs"]
    (job,) = jobs.values()
    return dict(job)


def load_job(task: Task) -> Job[Any]:
    return importlib.import_module(f"jobs.{task.key}").JOB  # type: ignore[no-any-return]


ALL_TASKS = [pytest.param(path, task, id=f"{path.stem}:{task.key}") for path in RESOURCES for task in load_graph(path)]


def parse_job(job: dict[str, Any]) -> Any:
    return BundleJob.from_dict(job)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", RESOURCES, ids=lambda p: p.stem)
def test_job_files_parse_as_databricks_parses_them(path: Path) -> None:
    parsed = parse_job(job_of(path))
    assert len(parsed.tasks) == len(load_graph(path))
    assert parsed.max_concurrent_runs == 1
    assert parsed.schedule is not None
    assert all(task.max_retries >= 1 for task in parsed.tasks)


@pytest.mark.parametrize("where", ["job", "task", "cluster"])
def test_an_unknown_field_is_refused(where: str) -> None:
    job = job_of(PIPELINE)
    target = {"job": job, "task": job["tasks"][0], "cluster": job["job_clusters"][0]["new_cluster"]}[where]
    target["retires"] = 2
    with pytest.raises(Exception, match="retires"):
        parse_job(job)


def test_the_bundle_includes_the_job_files_and_declares_their_variables() -> None:
    bundle = yaml.safe_load((PROJECT / "databricks.yml").read_text(encoding="utf-8"))
    included = {path for pattern in bundle["include"] for path in PROJECT.glob(pattern)}
    assert set(RESOURCES) <= included
    text = "".join(path.read_text(encoding="utf-8") for path in RESOURCES)
    used = {part.split("}")[0] for part in text.split("${var.")[1:]}
    assert used <= set(bundle["variables"])


@pytest.mark.parametrize(("path", "task"), ALL_TASKS)
def test_the_file_of_each_task_exists_and_is_its_job(path: Path, task: Task) -> None:
    file = (path.parent / task.python_file).resolve()
    assert file.is_file()
    assert file == PROJECT / "jobs" / f"{task.key}.py"
    assert load_job(task).name == task.key


@pytest.mark.parametrize(("path", "task"), ALL_TASKS)
def test_the_parameters_of_each_task_are_a_command_line_of_its_job(path: Path, task: Task) -> None:
    defaults = {p["name"]: p["default"] for p in job_of(path).get("parameters", ())}
    argv = list(task.parameters)
    for name, default in defaults.items():
        argv = [argument.replace(f"{{{{job.parameters.{name}}}}}", default) for argument in argv]
    assert not any("{{" in argument for argument in argv), "a parameter that the job file does not declare"
    job = load_job(task)
    flags = make_parser(job.name, job.summary).parse_args(argv)
    assert flags.env == "databricks"
    assert flags.as_of is None


@pytest.mark.parametrize(("path", "task"), ALL_TASKS)
def test_the_databricks_environment_loads_for_each_job(path: Path, task: Task) -> None:
    settings = load_config(Settings, PROJECT / "conf", "databricks")
    assert settings.store.out is None
    assert settings.store.catalog and settings.store.schema_name
    config = job_config(load_job(task), settings)
    assert set(type(config).model_fields) <= set(Settings.model_fields)


def written_before(tasks: list[Task], task: Task) -> set[str]:
    """What the tasks that a task waits for, directly or not, have written."""
    by_key = {t.key: t for t in tasks}
    upstream, waiting = set[str](), list(task.depends_on)
    while waiting:
        key = waiting.pop()
        if key not in upstream:
            upstream.add(key)
            waiting += by_key[key].depends_on
    return {name for key in upstream for name in load_job(by_key[key]).writes}


@pytest.mark.parametrize("task", load_graph(PIPELINE), ids=lambda t: t.key)
def test_what_a_task_reads_is_written_before(task: Task) -> None:
    tasks = load_graph(PIPELINE)
    inside = {name for name in load_job(task).reads if not name.startswith("landing:")}
    assert inside - written_before(tasks, task) == set()


def test_reads_and_writes_are_tables_or_named_kinds() -> None:
    for task in load_graph(PIPELINE):
        job = load_job(task)
        for name in (*job.reads, *job.writes):
            assert name in CONTRACTS or name.partition(":")[0] in {"landing", "registry", "file"}, (job.name, name)


def test_every_table_is_written_by_one_job() -> None:
    writers: dict[str, list[str]] = {name: [] for name in CONTRACTS}
    for task in load_graph(PIPELINE):
        for name in load_job(task).tables_written:
            writers[name].append(task.key)
    # What runs say of themselves: the ledger and the ingest's checks, which no job waits for.
    assert {name for name, jobs in writers.items() if len(jobs) != 1} <= {"job_run", "data_quality_result"}


def test_every_job_is_in_a_graph() -> None:
    in_graphs = {task.key for path in RESOURCES for task in load_graph(path)}
    files = {path.stem for path in (PROJECT / "jobs").glob("*.py")} - {"__init__", "run_pipeline"}
    assert files == in_graphs


# the graph itself


def write_graph(folder: Path, *edges: tuple[str, list[str]]) -> Path:
    tasks = [
        {
            "task_key": key,
            "depends_on": [{"task_key": other} for other in others],
            "spark_python_task": {"python_file": f"../jobs/{key}.py"},
        }
        for key, others in edges
    ]
    path = folder / "g.job.yml"
    path.write_text(yaml.safe_dump({"resources": {"jobs": {"g": {"tasks": tasks}}}}), encoding="utf-8")
    return path


def test_tasks_come_in_the_order_of_their_dependencies(tmp_path: Path) -> None:
    path = write_graph(tmp_path, ("last", ["middle"]), ("middle", ["first"]), ("first", []))
    assert [task.key for task in load_graph(path)] == ["first", "middle", "last"]


@pytest.mark.parametrize("edges", [[("a", ["b"]), ("b", ["a"])], [("a", ["gone"])]], ids=["circle", "unknown"])
def test_a_graph_that_cannot_run_is_refused(tmp_path: Path, edges: list[tuple[str, list[str]]]) -> None:
    with pytest.raises(ConfigError, match="wait for unknown tasks or for each other"):
        load_graph(write_graph(tmp_path, *edges))


def test_catalogue_mode_needs_all_of_its_places() -> None:
    with pytest.raises(ValueError, match="staging"):
        StoreConfig(catalog="main", schema_name="mmrec")
