"""Stores compared by what readers see: keys and content of every table, audit columns aside."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.lakehouse.creation import has_commits

# About runs, not about content.
NOT_COMPARED = {"job_run", "data_quality_result"}


def table_rows(out: Path, name: str, columns: list[str] | None = None) -> pa.Table:
    """A table of a store, read without Spark."""
    return DeltaTable(str(out / "tables" / name)).to_pyarrow_table(columns=columns)


def content_of(out: Path, name: str) -> dict[tuple[object, ...], str]:
    """Hash of the content of each row by its key."""
    contract = CONTRACTS[name]
    rows = table_rows(out, name, contract.content_columns).to_pylist()
    return {
        tuple(row[key] for key in contract.key): hashlib.sha256(repr(_plain(row)).encode()).hexdigest() for row in rows
    }


def _plain(value: object) -> object:
    """Maps in the order of their keys."""
    if isinstance(value, dict):
        return [(key, _plain(inner)) for key, inner in sorted(value.items())]
    if isinstance(value, list):
        is_map = bool(value) and all(isinstance(entry, tuple) and len(entry) == 2 for entry in value)
        return [_plain(entry) for entry in (sorted(value, key=repr) if is_map else value)]
    return value


def differences(one: Path, other: Path, names: Iterable[str] = CONTRACTS) -> list[str]:
    """What differs between these tables of two stores, a line each; empty when they are equal."""
    found = []
    for name in names:
        if name in NOT_COMPARED:
            continue
        there = [has_commits(str(out / "tables" / name)) for out in (one, other)]
        if there != [True, True]:
            if any(there):
                rows = content_of(one if there[0] else other, name)
                if rows:
                    found.append(f"{name}: only in one store, with {len(rows)} rows")
            continue
        left, right = content_of(one, name), content_of(other, name)
        if left != right:
            missing, extra = left.keys() - right.keys(), right.keys() - left.keys()
            changed = [key for key in left.keys() & right.keys() if left[key] != right[key]]
            example = next(iter([*missing, *extra, *changed]))
            found.append(
                f"{name}: {len(missing)} missing, {len(extra)} extra, {len(changed)} changed, such as {example}"
            )
    return found


def versions(out: Path) -> dict[str, int]:
    """Delta version of every table but those about runs."""
    return {
        name: DeltaTable(str(out / "tables" / name)).version()
        for name in CONTRACTS
        if name not in NOT_COMPARED and has_commits(str(out / "tables" / name))
    }
