"""The contracts as Markdown: `python -m mmrec_lib.contracts.docs` writes docs/tables.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mmrec_lib.contracts import AUDIT_COLUMNS, CONTRACTS, Column, TableContract
from mmrec_lib.errors import ConfigError, MmrecError
from mmrec_lib.files import write_text_atomic

PAGE = Path("docs/tables.md")

LAYERS = {
    "bronze": "What arrived, cleaned",
    "silver": "What it means",
    "gold": "What other teams read",
    "runs": "About the runs",
}

INTRODUCTION = """<!-- made by `python -m mmrec_lib.contracts.docs`, do not edit -->
# Tables

Each table is a folder below `OUT/tables` in path mode, or a table of the schema in catalogue mode. How the published
ones are read: [outputs](outputs.md). How a table is added or changed: [add a table](add-a-table.md)."""


def tables_page() -> str:
    """The page of all tables: an index by layer, then of each its purpose, key, partitions, checks and columns."""
    layers = {layer: [contract for contract in CONTRACTS.values() if contract.layer == layer] for layer in LAYERS}
    parts = [INTRODUCTION, _index(layers)]
    for layer, purpose in LAYERS.items():
        parts.append(f"## {layer.capitalize()}: {purpose[0].lower()}{purpose[1:]}")
        parts += [_describe(contract) for contract in layers[layer]]
    parts += ["## In every table", "These columns tell about the run, not about the content.", _columns(AUDIT_COLUMNS)]
    return "\n\n".join(parts) + "\n"


def _index(layers: dict[str, list[TableContract]]) -> str:
    rows = ["| layer | table | holds |", "|---|---|---|"]
    rows += [
        f"| {layer} | [{contract.name}](#{contract.name}) | {_cell(contract.comment)} |"
        for layer, contracts in layers.items()
        for contract in contracts
    ]
    return "\n".join(rows)


def _describe(contract: TableContract) -> str:
    facts = [f"Key: {_names(contract.key)}."]
    if contract.partition_by:
        facts.append(f"Partitioned by {_names(contract.partition_by)}.")
    if contract.checks:
        facts.append("Checks: " + "; ".join(f"`{check.condition}`" for check in contract.checks) + ".")
    if contract.retention_days is not None:
        current = f"; the slice that `{contract.slices_in}` names stays" if contract.has_slices else ""
        facts.append(f"Rows are kept for {contract.retention_days} days after `{contract.retention_column}`{current}.")
    if contract.change_feed:
        facts.append("Has a change data feed.")
    if contract.stats_columns:
        facts.append(f"Files tell the bounds of {_names(contract.stats_columns)} alone.")
    return "\n\n".join([f"### {contract.name}", contract.comment, " ".join(facts), _columns(contract.columns)])


def _columns(columns: Sequence[Column]) -> str:
    rows = ["| column | type | null | meaning |", "|---|---|---|---|"]
    rows += [
        f"| `{c.name}` | {c.type.simpleString()} | {'no' if c.required else 'yes'} | {_cell(c.comment)} |"
        for c in columns
    ]
    return "\n".join(rows)


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def rewrite_page(page: Path, text: str) -> bool:
    """Write a generated page; returns whether it changed.

    Raises:
        ConfigError: When the page cannot be read or written.
    """
    try:
        if page.exists() and page.read_text(encoding="utf-8") == text:
            return False
        write_text_atomic(page, text)
    except OSError as error:
        raise ConfigError(
            f"page {page} cannot be written ({error.strerror}). Start it in the checkout's root, or name the page."
        ) from error
    return True


def run_generator(module: str, page: Path, render: Callable[[], str], argv: Sequence[str] | None) -> int:
    """Command line of a module that writes one page; returns the exit status.

    Args:
        module: Name of the module, for --help.
        page: The page that is written where the command line names none.
        render: Makes the text of the page.
        argv: Command line; None takes the process's own.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=f"Write {page} from the code.")
    parser.add_argument("page", type=Path, nargs="?", default=page, help=f"Markdown file (default: {page})")
    target: Path = parser.parse_args(argv).page
    try:
        changed = rewrite_page(target, render())
    except MmrecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{target}: {'rewritten' if changed else 'is up to date'}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page of the tables; returns the exit status."""
    return run_generator("mmrec_lib.contracts.docs", PAGE, tables_page, argv)


if __name__ == "__main__":
    sys.exit(main())
