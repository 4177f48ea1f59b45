"""The version of source code: what changes behaviour changes it, what does not leaves it, job by job."""

from __future__ import annotations

import ast
import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

import mmrec_lib
from mmrec_lib import source_version
from mmrec_lib.features.load import Snapshot
from mmrec_lib.models.config import TrainingConfig
from mmrec_lib.runtime.job import job_source_version
from mmrec_lib.training.train import fit_fingerprint
from tests.conftest import PROJECT

# MLflow warns about type hints of its own modules when they are first imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")

ROOT = Path(mmrec_lib.__file__).parent
JOBS = sorted(path.stem for path in (PROJECT / "jobs").glob("*.py") if path.stem not in ("__init__", "run_pipeline"))

CODE = '''"""A module."""
from x import y


def f(a):
    """Does it."""
    # first
    return a + 1


class C:
    """A class."""

    size = {"one", "two"}
'''


def version_of(folder: Path, code: str) -> str:
    file = folder / "module.py"
    file.write_text(code, encoding="utf-8")
    return source_version.source_version([file])


@pytest.mark.parametrize(
    "edit",
    [
        lambda code: code.replace("# first", "# second, which is longer"),
        lambda code: code.replace("# first\n", "# first\n\n    # and more\n\n"),
        lambda code: code.replace('"""Does it."""', '"""Does it well.\n\n    With care.\n    """'),
        lambda code: code.replace('    """Does it."""\n', ""),
        lambda code: code.replace('"""A module."""', '"""Another."""'),
        lambda code: code.replace('"""A class."""', "'''It.'''"),
        lambda code: code.replace("return a + 1", "return (\n        a\n        + 1\n    )"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(tmp_path: Path, edit: Callable[[str], str]) -> None:
    assert edit(CODE) != CODE
    assert version_of(tmp_path, edit(CODE)) == version_of(tmp_path, CODE)


@pytest.mark.parametrize(
    "edit",
    [
        lambda code: code.replace("a + 1", "a + 2"),
        lambda code: code.replace("a + 1", "a - 1"),
        lambda code: code.replace("a + 1", "a + True"),
        lambda code: code.replace("a + 1", "a + 1.0"),
        lambda code: code.replace("def f(a)", "def f(a, /)"),
        lambda code: code.replace("def f(a)", "def f(a=1)"),
        lambda code: code.replace("def f", "def g"),
        lambda code: code.replace("import y", "import z"),
        lambda code: code.replace('"two"', '"three"'),
        lambda code: code.replace("class C", "class C(f)"),
    ],
)
def test_what_changes_behaviour_counts(tmp_path: Path, edit: Callable[[str], str]) -> None:
    assert edit(CODE) != CODE
    assert version_of(tmp_path, edit(CODE)) != version_of(tmp_path, CODE)


def test_the_version_is_the_same_in_every_process(tmp_path: Path) -> None:
    """Texts in sets come in another order in each process."""
    file = tmp_path / "module.py"
    file.write_text("x = 'a' in {'one', 'two', 'three', 'four'}\n", encoding="utf-8")
    program = f"import sys; from mmrec_lib.source_version import *; print(source_version([Path({str(file)!r})]))"
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": str(seed), "PYTHONPATH": str(PROJECT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2, 3)
    }
    assert len(found) == 1


# the library, copied so that it can be edited


CACHES = (source_version._files_of, source_version._data_of, source_version._is_package)


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One copy for all edits, so that what nobody edits is parsed once."""
    root = tmp_path_factory.mktemp("copied") / "mmrec_lib"
    shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.fixture
def library(copied: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    contents = {file: file.read_bytes() for file in copied.rglob("*") if file.is_file()}
    monkeypatch.setattr(source_version, "_LIBRARY", copied)
    for cached in CACHES:
        cached.cache_clear()
    yield copied
    for cached in CACHES:
        cached.cache_clear()
    for file, content in contents.items():
        if file.read_bytes() != content:
            file.write_bytes(content)


def versions() -> dict[str, str]:
    given = [source_version._LIBRARY / "lakehouse" / name for name in ("session.py", "job_tables.py")]
    files = {name: [PROJECT / "jobs" / f"{name}.py", *given] for name in JOBS}
    return {name: source_version.source_version(of, without="mmrec_lib.runtime") for name, of in files.items()}


@pytest.mark.slow
def test_a_job_counts_its_file_the_session_the_tables_and_what_they_need() -> None:
    found = {name: job_source_version(importlib.import_module(f"jobs.{name}").JOB) for name in JOBS}
    assert found == versions()


def changed_by(edit: Callable[[], object]) -> set[str]:
    before = versions()
    edit()
    after = versions()
    return {name for name in JOBS if before[name] != after[name]}


def append(file: Path, text: str) -> None:
    with file.open("a", encoding="utf-8") as stream:
        stream.write(text)


@pytest.mark.slow
def test_an_edited_comment_reruns_nothing(library: Path) -> None:
    def edit() -> None:
        for file in library.rglob("*.py"):
            append(file, "\n# a remark\n")

    assert changed_by(edit) == set()


# Evaluation measures lists as users get them.
LISTS = {"score_topk", "evaluate_ranker"}


@pytest.mark.parametrize(
    ("file", "runs", "rests"),
    [
        ("media/images.py", {"ingest_landing", "extract_text", "embed_content"}, {"score_topk", "train_ranker"}),
        ("encoders/image/ocr.py", {"extract_text"}, {"ingest_landing", "score_topk", "assemble_snapshot"}),
        ("scoring/users.py", LISTS, set(JOBS) - LISTS),
        ("ingest/run.py", {"ingest_landing"}, set(JOBS) - {"ingest_landing"}),
        ("models/ranker/pyfunc_file.py", {"train_ranker"}, {"ingest_landing", "embed_content"}),
        ("lakehouse/tables.py", set(JOBS), set()),
        ("lakehouse/session.py", set(JOBS), set()),
        ("reporting/templates/report.css", {"build_report"}, {"score_topk", "train_ranker", "ingest_landing"}),
        ("reporting/templates/report.html.j2", {"build_report"}, {"score_topk", "train_ranker"}),
        ("encoders/calibration/texts.json", {"embed_content"}, {"score_topk", "ingest_landing"}),
        ("runtime/progress.py", set(), set(JOBS)),
        ("contracts/docs.py", set(), set(JOBS)),
        ("__init__.py", set(), set(JOBS)),
    ],
)
def test_a_change_reruns_the_jobs_that_need_it(library: Path, file: str, runs: set[str], rests: set[str]) -> None:
    changed = changed_by(lambda: append(library / file, "\nadded = 1\n"))
    assert runs - changed == set(), "these must run again"
    assert rests & changed == set(), "these need not"


def test_a_comment_in_the_models_makes_no_new_version(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmrec_lib.models.__file__", str(library / "models" / "__init__.py"))
    snapshot = cast("Snapshot", SimpleNamespace(snapshot_id="s1", data_hash="d1"))
    before = fit_fingerprint(snapshot, TrainingConfig())
    append(library / "models" / "ranker" / "ranker.py", "\n# a remark\n")
    assert fit_fingerprint(snapshot, TrainingConfig()) == before
    append(library / "models" / "ranker" / "ranker.py", "\nadded = 1\n")
    assert fit_fingerprint(snapshot, TrainingConfig()) != before


# nothing is forgotten


@pytest.mark.slow
@pytest.mark.parametrize("name", ["embed_content", "score_topk", "build_report"])
def test_all_that_a_job_imports_counts(name: str) -> None:
    program = (
        f"import sys, jobs.{name}; print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('mmrec_lib.')))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    files = {Path(file) for file in loaded.stdout.split()}
    counted = set(source_version.needed_sources([PROJECT / "jobs" / f"{name}.py"]))
    assert len(files) > 50
    assert files - counted == set()


def test_every_file_of_the_library_is_needed_by_a_job_or_known_not_to_be() -> None:
    root = ROOT
    needed = set(source_version.needed_sources([PROJECT / "jobs" / f"{name}.py" for name in [*JOBS, "run_pipeline"]]))
    files = {path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    left = {str(path.relative_to(root)) for path in files - needed}
    programs = {"contracts/docs.py", "runtime/config_docs.py", "encoders/weights/prepare.py", "lakehouse/reader.py"}
    assert left <= programs | {
        "tracking/service.py",  # an example of serving lists
        "showing/reasons.py",  # for who asks why an item is not in a list
        "evaluation/predictions.py",  # for models that predict probabilities or ratings
        "scoring/table_metrics.py",  # for who evaluates lists of more users than a process holds
        "topk/merging.py",  # for who cuts a catalogue that is larger than memory
        "__init__.py",
        "py.typed",
        "lakehouse/prepare.py",
        "runtime/cli.py",
        "runtime/search_server.py",
        "publishing/search_page.py",
        "publishing/templates/search.html",
        "publishing/notebook.py",
        "answering/searcher.py",
    }


def test_the_library_imports_what_it_uses_from_its_module() -> None:
    """What came through the front page, or relative to a package, would not be followed."""
    for path in sorted(ROOT.rglob("*.py")) + sorted((PROJECT / "jobs").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, (path.name, node.lineno)
                front = node.module == "mmrec_lib"
                names = {alias.name for alias in node.names} if front else set()
                modules = {name for name in names if (ROOT / f"{name}.py").is_file() or (ROOT / name).is_dir()}
                assert names - modules <= {"__version__"}, (path.name, node.lineno)
