"""README and docs say what is so: links, generated pages, commands, keys, jobs, and records that the ingest accepts.

Each check is a function of texts, so that it can be tried on a planted violation.
"""

from __future__ import annotations

import csv
import importlib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.contracts.docs import main as write_tables
from mmrec_lib.contracts.docs import tables_page
from mmrec_lib.ingest.config import LandingConfig
from mmrec_lib.ingest.landing import format_of, kind_of
from mmrec_lib.ingest.records.parse import parse_record
from mmrec_lib.ingest.records.reasons import Reason
from mmrec_lib.ingest.records.values import Rules
from mmrec_lib.runtime.config_docs import NAME, bounds_of, config_keys, config_page, meanings_of, parts_of
from mmrec_lib.runtime.graph import load_graph
from mmrec_lib.runtime.main import make_parser
from mmrec_lib.runtime.settings import Settings
from tests.conftest import PROJECT

# MLflow warns about type hints of its own modules when they are first imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")

MAX_README_LINES = 150
PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").rglob("*.md"))]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
LANDING = TEXTS[PROJECT / "docs" / "landing.md"]
EXAMPLES = re.findall(r"^`([^`]+)`\n```(json|csv|tsv)\n(.*?)```", LANDING, flags=re.MULTILINE | re.DOTALL)
RULES = Rules.of(LandingConfig())

every_page = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(PROJECT)) for page in PAGES])


# the checks


def anchors_of(text: str) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(page: Path, text: str) -> list[str]:
    """Relative links of a page that lead to no file, or to no heading of it."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        known = (
            text
            if not name
            else target.read_text(encoding="utf-8")
            if target.suffix == ".md" and target.exists()
            else ""
        )
        if not target.exists() or (anchor and anchor not in anchors_of(known)):
            broken.append(link)
    return broken


def unknown_targets(text: str, makefile: str) -> set[str]:
    """Targets of make that a page names and the Makefile lacks."""
    known = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    return set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", text, flags=re.MULTILINE)) - known


def unimportable(text: str) -> set[str]:
    """Modules of `python -m` that cannot be imported."""
    missing = set()
    for name in set(re.findall(r"python -m ([\w.]*\w)", text)):
        try:
            importlib.import_module(name)
        except ImportError:
            missing.add(name)
    return missing


def assigned_keys(text: str) -> Iterator[str]:
    """Configuration keys that a page sets: after --set, in SET="…", and in prose as `section.key=value`."""
    joined = text.replace("\\\n", " ")
    for part in re.findall(r"--set ((?:'?[\w.]+=\S*\s*)+)", joined) + re.findall(r'SET="([^"]*)"', joined):
        yield from re.findall(r"(?:^|\s)'?(\w+(?:\.\w+)+)=", part)
    yield from re.findall(r"`([a-z]+(?:\.\w+)+)=", joined)


def unknown_keys(text: str, keys: Iterable[str]) -> set[str]:
    """Keys that a page sets and the configuration does not have; below a mapping any name will do."""
    known = [re.compile(re.escape(key).replace(re.escape(NAME), r"[^.]+") + r"(\..+)?") for key in keys]
    return {key for key in assigned_keys(text) if not any(k.fullmatch(key) for k in known)}


def section(page: str, title: str) -> str:
    return TEXTS[PROJECT / "docs" / page].split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows_of(text: str) -> set[str]:
    """The names in code type that begin the rows of tables."""
    return set(re.findall(r"^\| `([a-z0-9_]+)` \|", text, flags=re.MULTILINE))


# what holds


def test_the_readme_is_one_page() -> None:
    assert len(TEXTS[PROJECT / "README.md"].splitlines()) <= MAX_README_LINES


def test_the_readme_leads_to_every_page() -> None:
    named = set(re.findall(r"\]\((docs/[^)#]+\.md)", TEXTS[PROJECT / "README.md"]))
    top = {str(p.relative_to(PROJECT)) for p in PAGES if p.parent == PROJECT / "docs"}
    assert top | {"docs/decisions/README.md"} == named


def test_the_index_of_decisions_has_them_all() -> None:
    folder = PROJECT / "docs" / "decisions"
    linked = set(re.findall(r"\]\(([^)]+)\)", TEXTS[folder / "README.md"]))
    assert linked == {path.name for path in folder.glob("*.md")} - {"README.md"}


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page, TEXTS[page]) == []


@every_page
def test_named_make_targets_exist(page: Path) -> None:
    assert unknown_targets(TEXTS[page], (PROJECT / "Makefile").read_text(encoding="utf-8")) == set()


@every_page
def test_named_modules_import(page: Path) -> None:
    assert unimportable(TEXTS[page]) == set()


@every_page
def test_keys_that_are_set_exist(page: Path) -> None:
    assert unknown_keys(TEXTS[page], config_keys()) == set()


@pytest.mark.parametrize(("name", "render"), [("tables", tables_page), ("configuration", config_page)])
def test_generated_pages_are_up_to_date(name: str, render: Callable[[], str]) -> None:
    assert TEXTS[PROJECT / "docs" / f"{name}.md"] == render(), "run `make docs`"


def test_every_table_is_in_the_layers_of_the_architecture() -> None:
    rows = re.findall(
        r"^\| (?:bronze|silver|gold|about)[^|]*\| (.*) \|$", TEXTS[PROJECT / "docs/architecture.md"], re.MULTILINE
    )
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(CONTRACTS)


def test_every_room_is_in_the_architecture() -> None:
    text = section("architecture.md", "Rooms")
    rooms = {p.name for p in (PROJECT / "mmrec_lib").iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    assert {room for room in rooms if f"{room}/`" not in text} == set()


def test_every_flag_is_documented() -> None:
    flags = {f for action in make_parser("x", "x")._actions for f in action.option_strings if f.startswith("--")}
    documented = set(re.findall(r"^\| `(--[a-z-]+)", section("operations.md", "Jobs"), flags=re.MULTILINE))
    assert documented == flags - {"--help"}


def test_every_job_is_documented() -> None:
    tasks = {task.key for path in (PROJECT / "resources").glob("*.job.yml") for task in load_graph(path)}
    assert rows_of(section("operations.md", "Jobs")) == tasks


def test_every_make_target_is_documented() -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (PROJECT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    everything = "\n".join(TEXTS.values())
    assert [target for target in targets if f"make {target}" not in everything] == []


def test_every_configuration_section_and_key_has_a_meaning() -> None:
    page = TEXTS[PROJECT / "docs" / "configuration.md"]
    assert [name for name in Settings.model_fields if f"\n## {name}\n" not in page] == []
    parts = [part for name, field in Settings.model_fields.items() for part in parts_of(name, field)]
    assert [key.path for part in parts for key in part.keys if not key.meaning and not key.path.endswith(".kind")] == []


def test_every_quarantine_reason_is_documented() -> None:
    assert rows_of(section("landing.md", "Reasons in quarantine")) == {reason.value for reason in Reason}


def test_every_table_and_column_is_documented() -> None:
    page = tables_page()
    for contract in CONTRACTS.values():
        assert f"\n### {contract.name}\n" in page
        for column in contract.all_columns:
            assert f"| `{column.name}` | {column.type.simpleString()} |" in page


def test_every_kind_of_record_has_an_example() -> None:
    kinds = {kind_of(path) for path, _, _ in EXAMPLES}
    assert kinds == {
        *("event", "review", "item", "user", "user_edge", "user_control", "query", "answer", "label", "provided_text"),
        "graph_edge",
    }
    assert "vectors/audio-vggish.parquet" in LANDING


@pytest.mark.parametrize(("path", "fence", "text"), EXAMPLES, ids=[path for path, _, _ in EXAMPLES])
def test_the_example_records_are_accepted(path: str, fence: str, text: str) -> None:
    kind = kind_of(path)
    assert kind is not None
    assert format_of(path) == fence
    lines = text.strip().splitlines()
    if fence == "json":
        parsed = [parse_record(kind, line.encode(), None, RULES) for line in lines]
    else:
        rows = csv.DictReader(lines, delimiter="," if fence == "csv" else "\t")
        parsed = [parse_record(kind, b"", {k: v or None for k, v in row.items()}, RULES) for row in rows]
    assert parsed
    assert [record.detail for record in parsed if record.reason] == []


# the checks see what they look for


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# Other\n\n## A heading, with `code`\n")
    (tmp_path / "page.md").touch()
    text = "# Page\n[a](other.md) [b](other.md#a-heading-with-code) [c](#page) [d](https://example.com/x)"
    assert broken_links(tmp_path / "page.md", text) == []
    wrong = "[a](gone.md) [b](other.md#gone) [c](#gone)\n```\n# gone\n[not](a-link)\n```\n"
    assert broken_links(tmp_path / "page.md", wrong) == ["gone.md", "other.md#gone", "#gone"]


def test_an_unknown_target_is_seen() -> None:
    assert unknown_targets("```\nmake demo\n```\n`make gone X=1` and to make others", "demo: setup\n") == {"gone"}


def test_an_unknown_module_is_seen() -> None:
    assert unimportable("`python -m mmrec_lib.contracts.docs`, `python -m mmrec_lib.gone`.") == {"mmrec_lib.gone"}


def test_an_unknown_key_is_seen() -> None:
    keys = {"scoring.k", "spark.conf", f"models.encoders.{NAME}.dtype"}
    good = 'x --set scoring.k=1 \\\n  models.encoders.mine.dtype=int8 and SET="scoring.k=2" `spark.conf.spark.x=1`'
    assert unknown_keys(good, keys) == set()
    wrong = 'x --set scoring.k=1 \\\n  scoring.gone=2 and SET="scoring.k=2 gone.k=3" or `models.encoders.mine.gone=1`'
    assert unknown_keys(wrong, keys) == {"scoring.gone", "gone.k", "models.encoders.mine.gone"}


class Dog(BaseModel):
    """A dog.

    Attributes:
        kind: Tells it.
        legs: How many,
            in the usual case. None where unknown.
    """

    kind: str = "dog"
    legs: int | None = Field(default=4, ge=0, le=4)


class Puppy(Dog):
    """A young dog.

    Attributes:
        age: In weeks.
    """

    age: float = Field(default=1.5, gt=0)


class Kennel(BaseModel):
    """Where dogs are.

    Attributes:
        first: The first.
    """

    first: Puppy = Puppy(legs=3)
    others: dict[str, Dog | Puppy] = Field(default_factory=lambda: {"rex": Dog(legs=2)})
    named: str = Field(description="Its | name.")


class Town(BaseModel):
    """A town."""

    kennel: Kennel


def test_meanings_come_from_descriptions_and_docstrings_of_bases() -> None:
    assert meanings_of(Puppy) == {
        "kind": "Tells it.",
        "legs": "How many, in the usual case. null where unknown.",
        "age": "In weeks.",
    }
    assert meanings_of(Kennel) == {"first": "The first.", "others": "", "named": "Its | name."}


def test_bounds_come_from_constraints() -> None:
    assert bounds_of(Dog.model_fields["legs"]) == "≥ 0, ≤ 4"
    assert bounds_of(Puppy.model_fields["age"]) == "> 0"


def test_nested_sections_mappings_and_unions_are_walked() -> None:
    page = config_page(Town)
    assert config_keys(Town) == {
        *("kennel.first.kind", "kennel.first.legs", "kennel.first.age", "kennel.named"),
        *("kennel.others.<name>.kind", "kennel.others.<name>.legs", "kennel.others.<name>.age"),
    }
    assert (
        "| `kennel.first.legs` | int or null | `3` | ≥ 0, ≤ 4 | How many, in the usual case. null where unknown. |"
        in page
    )
    assert "| `kennel.named` | str | required |  | Its \\| name. |" in page
    assert "kennel:\n  others:\n    rex: {legs: 2}" in page


def test_a_generated_page_is_written_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "tables.md"
    assert write_tables([str(page)]) == 0
    assert page.read_text(encoding="utf-8") == tables_page()
    assert write_tables([str(page)]) == 0
    assert "is up to date" in capsys.readouterr().out
    assert write_tables([str(tmp_path / "gone" / "tables.md")]) == 1
    assert "cannot be written" in capsys.readouterr().err
