"""The laws of the house that import-linter cannot see, held on the syntax tree; each is tried on planted violations."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PROJECT

# MLflow warns about type hints of its own modules when they are first imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")

LIBRARY, JOBS = PROJECT / "mmrec_lib", PROJECT / "jobs"
MAX_JOB_LINES, MAX_MODULE_LINES = 80, 400

TABLE_ACCESS = {"read", "readStream", "write", "writeStream"}
TABLE_WRITERS = {"writeTo", "saveAsTable", "insertInto", "mergeInto", "replaceWhere"}
# Local sessions only: no session of Spark Connect comes there.
LOCAL_ONLY = LIBRARY / "lakehouse" / "hadoop_defaults.py"
NOT_ON_CONNECT = {"rdd", "_jvm", "_jsc", "_jdf", "sparkContext", "_sc"}
ONTO_THE_DRIVER = {"toPandas"}


def sources(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def in_lakehouse(path: Path) -> bool:
    return LIBRARY / "lakehouse" in path.parents


def table_accesses(tree: ast.AST) -> Iterator[str]:
    """Uses of a session's or frame's reader and writer, and SQL that changes tables.

    `frame.write.mode(…)` and `session.read.table(…)` go through the attribute, so it is not called itself. Methods
    named `read` or `write` (of a file, of `Lakehouse`) are calls and mean something else.
    """
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if node.attr in TABLE_ACCESS and id(node) not in called and isinstance(node.ctx, ast.Load):
                yield f"line {node.lineno}: .{node.attr}"
            if node.attr in TABLE_WRITERS:
                yield f"line {node.lineno}: .{node.attr}"
        if isinstance(node, ast.Call) and _name_of(node.func) == "getattr" and _constants(node) & TABLE_ACCESS:
            yield f"line {node.lineno}: getattr of a reader or writer"
        if isinstance(node, ast.Constant) and "MERGE INTO" in " ".join(str(node.value).upper().split()):
            yield f"line {node.lineno}: MERGE INTO"
        if isinstance(node, ast.Name | ast.Attribute) and _name_of(node) == "DeltaTable":
            yield f"line {node.lineno}: DeltaTable"


def forbidden_attributes(tree: ast.AST, names: set[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in names:
            yield f"line {node.lineno}: .{node.attr}"


def mutable_globals(tree: ast.Module) -> Iterator[str]:
    """`global` statements: state that functions change and that workers would not share."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield f"line {node.lineno}: global {', '.join(node.names)}"


def _name_of(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _constants(call: ast.Call) -> set[object]:
    return {argument.value for argument in call.args if isinstance(argument, ast.Constant)}


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    return str(path.relative_to(PROJECT))


BANNED_WORDS = re.compile(r"\b(pictures?|ready-made|number[ \n]+formats?)\b", flags=re.IGNORECASE)
BANNED_STARTS = ("What", "Which", "Why", "Whether", "How")


def banned_words(text: str) -> list[str]:
    """Words that have a better one in the field: image, precomputed, dtype."""
    return [match[0] for match in BANNED_WORDS.finditer(text)]


def riddling_docstrings(tree: ast.AST) -> Iterator[str]:
    """Docstrings that begin with a question's word instead of a verb or the thing."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = (ast.get_docstring(node) or "").split(maxsplit=1)[:1]
            if first and first[0].rstrip(",:;.") in BANNED_STARTS:
                yield f"line {getattr(node, 'lineno', 1)}: {first[0]}"


def unknown_parameters(tree: ast.AST) -> Iterator[str]:
    """Names under `Args:` and `Attributes:` that a function or class does not have."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            heading, own = "Args", {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
        elif isinstance(node, ast.ClassDef):
            fields = [line.target for line in node.body if isinstance(line, ast.AnnAssign)]
            heading, own = "Attributes", {field.id for field in fields if isinstance(field, ast.Name)}
        else:
            continue
        part = re.search(rf"^{heading}:\n((?:    .*\n?|\n)+)", ast.get_docstring(node) or "", flags=re.MULTILINE)
        named = re.findall(r"^    (\w+):", part[1], flags=re.MULTILINE) if part is not None and own else []
        yield from (f"{node.name}: {name}" for name in named if name not in own)


def prose() -> list[Path]:
    """Files whose words the law holds: code, configuration and docs."""
    folders = [PROJECT / name for name in ("mmrec_lib", "jobs", "notebooks", "docs", "conf")]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in {".py", ".md", ".yaml", ".j2"}]
    return sorted([*files, PROJECT / "README.md"])


# the laws


def test_words_are_those_of_the_field() -> None:
    found = {name_of(p): banned_words(p.read_text(encoding="utf-8")) for p in prose()}
    assert {name: words for name, words in found.items() if words} == {}


def test_docstrings_begin_with_a_verb_or_the_thing() -> None:
    found = {name_of(p): list(riddling_docstrings(parse(p))) for p in sources(LIBRARY, JOBS)}
    assert {name: starts for name, starts in found.items() if starts} == {}


def test_docstrings_name_parameters_that_exist() -> None:
    found = {name_of(p): list(unknown_parameters(parse(p))) for p in sources(LIBRARY, JOBS)}
    assert {name: names for name, names in found.items() if names} == {}


def test_a_parameter_that_was_renamed_in_the_code_only_is_seen() -> None:
    function = 'def f(new: int) -> None:\n    """Do.\n\n    Args:\n        old: A number.\n    """\n'
    fields = 'class C:\n    """A.\n\n    Attributes:\n        old: A number.\n    """\n\n    new: int\n'
    assert list(unknown_parameters(ast.parse(function))) == ["f: old"]
    assert list(unknown_parameters(ast.parse(fields))) == ["C: old"]
    assert list(unknown_parameters(ast.parse(function.replace("old", "new")))) == []


def test_only_lakehouse_touches_readers_and_writers() -> None:
    found = {name_of(p): list(table_accesses(parse(p))) for p in sources(LIBRARY, JOBS) if not in_lakehouse(p)}
    assert {name: uses for name, uses in found.items() if uses} == {}


def test_nothing_uses_what_spark_connect_lacks() -> None:
    found = {
        name_of(p): list(forbidden_attributes(parse(p), NOT_ON_CONNECT))
        for p in sources(LIBRARY, JOBS)
        if p != LOCAL_ONLY
    }
    assert {name: uses for name, uses in found.items() if uses} == {}


def test_nothing_pulls_frames_into_pandas_on_the_driver() -> None:
    found = {name_of(p): list(forbidden_attributes(parse(p), ONTO_THE_DRIVER)) for p in sources(LIBRARY, JOBS)}
    assert {name: uses for name, uses in found.items() if uses} == {}


def test_no_function_changes_globals() -> None:
    found = {name_of(p): list(mutable_globals(parse(p))) for p in sources(LIBRARY, JOBS)}
    assert {name: uses for name, uses in found.items() if uses} == {}


@pytest.mark.parametrize("path", sources(JOBS), ids=lambda p: p.stem)
def test_a_job_fits_on_a_screen(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_JOB_LINES


def test_a_module_is_one_idea() -> None:
    lengths = {name_of(p): len(p.read_text(encoding="utf-8").splitlines()) for p in sources(LIBRARY)}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_MODULE_LINES} == {}


NOT_JOBS = ("__init__", "run_pipeline")


@pytest.mark.parametrize("path", [p for p in sources(JOBS) if p.stem not in NOT_JOBS], ids=lambda p: p.stem)
def test_a_job_is_named_as_its_file(path: Path) -> None:
    job = importlib.import_module(f"jobs.{path.stem}").JOB
    assert job.name == path.stem
    assert job.summary and not job.summary.endswith(".")


# the laws see what they forbid


@pytest.mark.parametrize(
    "planted",
    [
        "rows.write.format('delta').save(path)",
        "spark.read.table('t')",
        "reader = spark.read",
        "self.spark.readStream.load(path)",
        "rows.writeStream.start()",
        "rows.writeTo('t').append()",
        "rows.mergeInto('t', c)",
        "getattr(rows, 'write').save(path)",
        "spark.sql(f'merge  into {name} t USING s')",
        "DeltaTable.forPath(spark, path)",
    ],
)
def test_table_access_is_seen(planted: str) -> None:
    assert list(table_accesses(ast.parse(planted)))


@pytest.mark.parametrize(
    "innocent",
    [
        "file.read()",
        "stream.write(data)",
        "lakehouse.read('event').where('x')",
        "lakehouse.merge('event', rows)",
        "'a word about merges'",
        "settings.reads",
        "path.read_text()",
    ],
)
def test_other_reading_is_not_accused(innocent: str) -> None:
    assert list(table_accesses(ast.parse(innocent))) == []


@pytest.mark.parametrize("planted", ["rows.rdd.map(f)", "spark.sparkContext.broadcast(x)", "spark._jvm.java.lang"])
def test_what_connect_lacks_is_seen(planted: str) -> None:
    assert list(forbidden_attributes(ast.parse(planted), NOT_ON_CONNECT))


def test_a_changed_global_is_seen() -> None:
    assert list(mutable_globals(ast.parse("def f():\n    global model\n    model = 1")))


@pytest.mark.parametrize("planted", ["a Picture of it", "ready-made vectors", "its number\nformat", "number formats"])
def test_a_banned_word_is_seen(planted: str) -> None:
    assert banned_words(planted)


def test_words_that_only_contain_a_banned_one_are_not_accused() -> None:
    assert banned_words("pictured, already made, a number; formats") == []


@pytest.mark.parametrize(
    "planted", ["'What it is.'", "class A:\n    'Which one.'", "def f():\n    'Whether so.'", "'Why: so'"]
)
def test_a_riddling_docstring_is_seen(planted: str) -> None:
    assert list(riddling_docstrings(ast.parse(planted)))


def test_other_docstrings_are_not_accused() -> None:
    assert list(riddling_docstrings(ast.parse("'Whatever it takes.'\ndef f():\n    x = 'What'"))) == []
