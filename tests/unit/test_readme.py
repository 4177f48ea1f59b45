"""The README says what is so: tables, files, targets, flags, sections, and example records that the ingest accepts."""

from __future__ import annotations

import csv
import re

import pytest

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.contracts.docs import END, START, table_docs, with_tables
from mmrec_lib.errors import ConfigError
from mmrec_lib.ingest.config import LandingConfig
from mmrec_lib.ingest.landing import format_of, kind_of
from mmrec_lib.ingest.records.parse import parse_record
from mmrec_lib.ingest.records.values import Rules
from mmrec_lib.runtime.graph import load_graph
from mmrec_lib.runtime.main import make_parser
from mmrec_lib.runtime.settings import Settings
from tests.conftest import PROJECT

README = (PROJECT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^`([^`]+)`\n```(json|csv|tsv)\n(.*?)```", README, flags=re.MULTILINE | re.DOTALL)
RULES = Rules.of(LandingConfig())


def section(title: str) -> str:
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_the_tables_are_those_of_the_contracts() -> None:
    assert with_tables(README) == README, "run `python -m mmrec_lib.contracts.docs README.md`"


def test_table_docs_name_every_table_and_column() -> None:
    docs = table_docs()
    for contract in CONTRACTS.values():
        assert f"<code>{contract.name}</code>" in docs
        for column in contract.all_columns:
            assert f"| `{column.name}` | {column.type.simpleString()} |" in docs


def test_old_table_docs_are_replaced_and_the_rest_stays() -> None:
    page = with_tables(f"before\n{START}\nold\n{END}\nafter")
    assert page.startswith("before\n")
    assert page.endswith("\nafter")
    assert "old" not in page.splitlines()
    assert with_tables(page) == page


@pytest.mark.parametrize("page", ["nothing", START, f"{END}{START}", f"{START}{START}{END}"])
def test_a_page_without_the_section_is_refused(page: str) -> None:
    with pytest.raises(ConfigError, match="section on tables"):
        with_tables(page)


def test_every_kind_of_record_has_an_example() -> None:
    kinds = {kind_of(path) for path, _, _ in EXAMPLES}
    assert kinds == {"event", "review", "item", "user", "user_edge", "provided_text", "graph_edge"}
    assert "vectors/audio-vggish.parquet" in README


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


def test_local_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (PROJECT / link).exists()] == []


def test_links_inside_the_page_lead_to_headings() -> None:
    headings = {h.lower().replace(" ", "-") for h in re.findall(r"^#+ (.+)$", README, flags=re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= headings


def test_named_make_targets_exist() -> None:
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    named = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", README, flags=re.MULTILINE))
    assert {a or b for a, b in named} <= targets


def test_every_flag_is_documented() -> None:
    flags = {f for action in make_parser("x", "x")._actions for f in action.option_strings if f.startswith("--")}
    documented = set(re.findall(r"^\| `(--[a-z-]+)", section("Jobs"), flags=re.MULTILINE))
    assert documented == flags - {"--help"}


def test_every_configuration_section_is_documented() -> None:
    documented = re.findall(r"^\| `([a-z]+)` \|", section("Configuration"), flags=re.MULTILINE)
    assert set(documented) == set(Settings.model_fields)


def test_every_job_is_documented() -> None:
    documented = set(re.findall(r"^\| `([a-z]+(?:_[a-z]+)+)` \|", section("Jobs"), flags=re.MULTILINE))
    tasks = {task.key for path in (PROJECT / "resources").glob("*.job.yml") for task in load_graph(path)}
    assert documented == tasks
