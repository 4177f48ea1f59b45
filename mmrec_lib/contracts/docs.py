"""The contracts as Markdown: `python -m mmrec_lib.contracts.docs README.md` rewrites the README's section on tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmrec_lib.contracts import AUDIT_COLUMNS, CONTRACTS, Column, TableContract
from mmrec_lib.errors import ConfigError, MmrecError

START = "<!-- tables: made by `python -m mmrec_lib.contracts.docs README.md`, do not edit -->"
END = "<!-- /tables -->"

LAYERS = {
    "bronze": "What arrived, cleaned.",
    "silver": "What it means.",
    "gold": "What other teams read.",
    "runs": "About the runs.",
}


def table_docs() -> str:
    """All tables by layer, as Markdown: purpose, key, partitions, checks, retention and columns."""
    parts = []
    for layer, purpose in LAYERS.items():
        tables = [contract for contract in CONTRACTS.values() if contract.layer == layer]
        parts += [
            f"### {layer.capitalize()}: {purpose[0].lower()}{purpose[1:]}",
            *(_describe(table) for table in tables),
        ]
    parts += ["### In every table", "These columns tell about the run, not about the content.", _columns(AUDIT_COLUMNS)]
    return "\n\n".join(parts)


def with_tables(text: str) -> str:
    """A page with its section on tables as the contracts have it now.

    Args:
        text: Markdown that holds `START` and, after it, `END`, once each.

    Raises:
        ConfigError: When it does not.
    """
    if text.count(START) != 1 or text.count(END) != 1 or text.index(START) > text.index(END):
        raise ConfigError(
            f"page: the section on tables stands between the lines {START!r} and {END!r}, once. Add them."
        )
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n\n{table_docs()}\n\n{END}{after}"


def update_readme(path: Path) -> bool:
    """Rewrite the section on tables of a page; returns whether it changed.

    Raises:
        ConfigError: When the file is missing or has no such section.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"page {path} cannot be read ({error.strerror}). Name the README.") from error
    updated = with_tables(text)
    if updated == text:
        return False
    path.write_text(updated, encoding="utf-8")
    return True


def _describe(contract: TableContract) -> str:
    facts = [f"Key: {_names(contract.key)}."]
    if contract.partition_by:
        facts.append(f"Partitioned by {_names(contract.partition_by)}.")
    if contract.checks:
        facts.append("Checks: " + "; ".join(f"`{check.condition}`" for check in contract.checks) + ".")
    if contract.retention_days is not None:
        current = "; the slice that `current_slice` names stays" if contract.has_slices else ""
        facts.append(f"Rows are kept for {contract.retention_days} days after `{contract.retention_column}`{current}.")
    if contract.change_feed:
        facts.append("Has a change data feed.")
    heading = f"<details>\n<summary><code>{contract.name}</code> {contract.comment}</summary>"
    return "\n\n".join([heading, " ".join(facts), _columns(contract.columns), "</details>"])


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


def main(argv: Sequence[str] | None = None) -> int:
    """Rewrite the section of the named page; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m mmrec_lib.contracts.docs", description="Rewrite a page's section on tables from the contracts."
    )
    parser.add_argument("page", type=Path, help="Markdown file with the section, such as README.md")
    page: Path = parser.parse_args(argv).page
    try:
        changed = update_readme(page)
    except MmrecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{page}: {'rewritten' if changed else 'is up to date'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
