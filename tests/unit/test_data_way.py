"""The way of the data is declared and held: each job reads and writes its tables, in the order of the graph."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.contracts.learning import OUTSIDE_PIPELINE
from mmrec_lib.errors import ContractError
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.lakehouse.job_tables import JobTables
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.runtime.graph import load_graph
from mmrec_lib.runtime.job import Context, Job
from tests.conftest import PROJECT

# MLflow warns about type hints of its own modules when they are first imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")

PIPELINE = PROJECT / "resources" / "pipeline.job.yml"
ALL_JOBS = sorted({task.key for path in PIPELINE.parent.glob("*.job.yml") for task in load_graph(path)})
READING = {"read", "exists", "data_version", "current_slice", "stored_keys"}
WRITING = {"merge", "append", "replace_slice", "replace_keys", "ensure"}
# Functions of the library that take the store and the name of a table.
READERS, WRITERS = {"current_rows"}, {"_merge", "_replace_all", "refresh_audit"}


def job_of(key: str) -> Job[Any]:
    return importlib.import_module(f"jobs.{key}").JOB  # type: ignore[no-any-return]


# the view


def store(tmp_path: Path) -> Lakehouse:
    """A store without Spark: what is refused is refused before anything is asked of it."""
    return Lakehouse(None, StoreConfig(out=str(tmp_path)), "run-1", datetime(2026, 1, 1, tzinfo=UTC))  # type: ignore[arg-type]


def view(tmp_path: Path) -> JobTables:
    return JobTables(store(tmp_path), "some_job", reads=["item"], writes=["event"], maintains=["review"])


@pytest.mark.parametrize("name", ["user", "no_such_table"])
@pytest.mark.parametrize("what", ["read", "exists", "data_version", "table", "location"])
def test_what_is_not_declared_cannot_be_read(tmp_path: Path, what: str, name: str) -> None:
    with pytest.raises(
        ContractError, match=rf"some_job: it reads only .*\(event, item, review\).* asked for {name}.*JOB\.reads"
    ):
        getattr(view(tmp_path), what)(name)


@pytest.mark.parametrize("name", ["item", "review", "user"])
@pytest.mark.parametrize(
    "write",
    [
        lambda tables, name: tables.merge(name, None),
        lambda tables, name: tables.append(name, None),
        lambda tables, name: tables.replace_slice(name, None, {}),
        lambda tables, name: tables.replace_keys(name, None, None),
        lambda tables, name: tables.ensure(name),
        lambda tables, name: tables.require_writable(name),
    ],
)
def test_what_is_only_read_or_not_declared_cannot_be_written(tmp_path: Path, write: Any, name: str) -> None:
    with pytest.raises(ContractError, match=rf"it writes only .*\(event\).* asked for {name}.*JOB\.writes"):
        write(view(tmp_path), name)


def test_only_what_is_declared_for_it_is_maintained(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="maintains only"):
        view(tmp_path).maintain("event", 168, None)


def test_what_is_declared_is_there(tmp_path: Path) -> None:
    tables = view(tmp_path)
    for name in ("item", "event", "review"):
        assert not tables.exists(name)
        assert tables.data_version(name) is None
        assert tables.location(name) == f"{tmp_path}/tables/{name}"
    tables.require_writable("event")
    assert tables.table_source("user") == f"{tmp_path}/tables/user", "names, as lineage tells them, are no access"


def test_the_view_and_the_store_know_the_same(tmp_path: Path) -> None:
    whole = store(tmp_path)
    tables = JobTables(whole, "some_job", reads=["item"], writes=["event"])
    assert tables.data_version("event") is None
    tables._versions["event"] = 7
    assert whole.data_version("event") == 7


def test_every_way_to_a_table_is_bounded() -> None:
    """A method of the store that takes the name of a table is one of the view too, or calls one that is."""
    staging = {"stage", "stage_in_workers", "stage_path", "staging_path", "stream_arrow"}
    harmless = {*staging, "table_source", "data_versions", "current_slice", "stored_keys"}
    named = {
        name
        for name, method in inspect.getmembers(Lakehouse, inspect.isfunction)
        if not name.startswith("_") and "name" in inspect.signature(method).parameters
    }
    assert named - harmless <= set(vars(JobTables))


def test_a_run_hands_a_job_its_view_everywhere(tmp_path: Path) -> None:
    job = job_of("score_topk")
    context = job.view(context_of(store(tmp_path)))
    assert isinstance(context.lakehouse, JobTables)
    context.lakehouse.exists("user_topk")
    with pytest.raises(ContractError, match="score_topk"):
        context.lakehouse.exists("event")


def context_of(lakehouse: Lakehouse) -> Context:
    """A context of which only the tables matter."""
    nothing: Any = SimpleNamespace()
    return Context("run-1", lakehouse.written_at, None, lakehouse, nothing, nothing, nothing)


# the graph


def upstream(key: str) -> list[str]:
    """Tasks that a task waits for, directly or not."""
    by_key = {task.key: task for task in load_graph(PIPELINE)}
    found, waiting = list[str](), list(by_key[key].depends_on)
    while waiting:
        if (other := waiting.pop()) not in found:
            found.append(other)
            waiting += by_key[other].depends_on
    return found


@pytest.mark.parametrize("key", [task.key for task in load_graph(PIPELINE)])
def test_what_a_job_reads_was_written_before_it_in_the_same_run(key: str) -> None:
    written = {name for other in upstream(key) for name in job_of(other).writes}
    inside = {name for name in job_of(key).reads if not name.startswith("landing:")}
    assert inside <= written


@pytest.mark.parametrize("key", [task.key for task in load_graph(PIPELINE)])
def test_feedback_is_what_no_earlier_job_writes(key: str) -> None:
    written = {name for other in upstream(key) for name in job_of(other).writes}
    later = {task.key for task in load_graph(PIPELINE)} - {key, *upstream(key)}
    fed_back = set(job_of(key).feedback)
    assert not fed_back & written, "written before: it belongs to reads"
    of_later = {name for other in later for name in job_of(other).writes}
    apart = {"job_run", *OUTSIDE_PIPELINE}
    assert fed_back <= of_later | apart, "job_run is written by every run, tables of recipes by jobs started by hand"
    assert not fed_back & {*job_of(key).reads, *job_of(key).writes}


def test_the_order_of_the_graph_is_one_in_which_all_reads_are_fresh() -> None:
    written, keys = set[str](), [task.key for task in load_graph(PIPELINE)]
    for key in keys:
        inside = {name for name in job_of(key).reads if not name.startswith("landing:")}
        assert inside <= written, key
        written |= set(job_of(key).writes)


def test_the_report_reads_every_table_of_the_graph_so_that_its_summary_is_never_stale() -> None:
    job = job_of("build_report")
    inside = {task.key for task in load_graph(PIPELINE)}
    apart = {table for key in ALL_JOBS if key not in inside for table in job_of(key).tables_written}
    assert apart == set(OUTSIDE_PIPELINE)
    assert {*job.tables_read, *job.feedback} == set(CONTRACTS) - apart
    assert job.feedback == ("job_run",), "of all tables only this one changes with each run"


def test_maintenance_covers_every_table() -> None:
    assert set(job_of("maintain_tables").maintains) == set(CONTRACTS)


# what the code of a job names


@cache
def module(name: str) -> tuple[dict[str, ast.AST], dict[str, str]] | None:
    """Definitions of a module, and where the names that it imports come from."""
    parts = name.split(".")
    path = PROJECT.joinpath(*parts).with_suffix(".py")
    path = path if path.is_file() else PROJECT.joinpath(*parts, "__init__.py")
    if not path.is_file():
        return None
    tree = ast.parse(path.read_text(encoding="utf-8"))
    definitions: dict[str, ast.AST] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            definitions[node.name] = node
    imports = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    return definitions, imports


def reachable(start: str, names: tuple[str, ...]) -> Iterator[ast.AST]:
    """Functions and classes that some functions of a module use, and what these use in turn."""
    waiting, seen = [(start, name) for name in names], set[tuple[str, str]]()
    while waiting:
        where, name = waiting.pop()
        if (where, name) in seen or not where.startswith(("jobs", "mmrec_lib")) or (known := module(where)) is None:
            continue
        seen.add((where, name))
        definitions, imports = known
        if name in imports:
            waiting.append(tuple(imports[name].split(":")))  # type: ignore[arg-type]
        if name not in definitions or where.startswith("mmrec_lib.lakehouse"):
            continue
        yield definitions[name]
        waiting += [(where, node.id) for node in ast.walk(definitions[name]) if isinstance(node, ast.Name)]


def named_tables(nodes: Iterator[ast.AST]) -> tuple[set[str], set[str]]:
    """Tables that calls in some definitions read and write by name."""
    read, written = set[str](), set[str]()
    for definition in nodes:
        for call in (node for node in ast.walk(definition) if isinstance(node, ast.Call)):
            function = call.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            found = {a.value for a in call.args if isinstance(a, ast.Constant) and a.value in CONTRACTS}
            is_method = isinstance(function, ast.Attribute)
            if (is_method and name in READING) or name in READERS:
                read |= found
            if (is_method and name in WRITING) or name in WRITERS:
                written |= found
    return read, written


FUNCTIONS = ("run", "external_versions", "is_complete", "before_remaking")


@pytest.mark.parametrize("key", ALL_JOBS)
def test_what_a_job_s_code_names_is_declared(key: str) -> None:
    job = job_of(key)
    read, written = named_tables(reachable(f"jobs.{key}", FUNCTIONS))
    assert written - set(job.writes) == set()
    assert read - {*job.reads, *job.writes, *job.feedback, *job.maintains} == set()


def test_names_in_code_are_seen() -> None:
    read, written = named_tables(reachable("jobs.score_topk", FUNCTIONS))
    assert {"user_profile", "training_snapshot"} <= read
    assert {"user_topk", "current_slice"} <= written


def test_frames_are_read_by_name_only_through_the_store() -> None:
    """`spark.table(…)` would go past the view, as would SQL about tables."""
    for path in sorted((PROJECT / "mmrec_lib").rglob("*.py")) + sorted((PROJECT / "jobs").glob("*.py")):
        if "lakehouse" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                value = node.func.value
                of = value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else ""
                assert not (of in ("spark", "_spark") and node.func.attr in ("table", "sql")), (path.name, node.lineno)
