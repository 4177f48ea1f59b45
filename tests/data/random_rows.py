"""Random rows of any table, in all the types that contracts have."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from mmrec_lib.contracts.table import TableContract

DAY = date(2026, 1, 2)
# What the checks of some tables ask for.
_MEETS: dict[str, dict[str, object]] = {
    "event": {"split": None},
    "user_control": {"action": "mute", "target_kind": "item"},
    "query": {"text": "x"},
    "media_asset": {"media_kind": "image", "content": b"1"},
    "landing_file": {"num_read": 4, "num_stored": 1, "num_superseded": 1, "num_duplicates": 1, "num_quarantined": 1},
    "media_text": {"text": "a", "error": None},
    "content_embedding": {"vector": [1.0, -2.5], "codes": None, "scale": None, "error": None},
    "item_embedding": {"vector": None, "codes": [-128, 127], "scale": 0.5},
    "search_vector": {"vector": None, "error": "media_empty: no bytes"},
    "review_opinion": {"sentiment": "neutral", "error": None},
    "label": {"owner_kind": "item", "label": "a", "spans": None},
    "text_entity": {"start": 1, "end": 2},
    "recommendation_text": {"text": "a", "reason": None, "grounding": 1.0},
    "generated_description": {"grounding": 1.0},
    "item_topk": {"related_item_id": "another"},
    "query_result": {"num_items": 0, "reason": "nothing is near"},
    "job_run": {"status": "failed"},
}


def random_rows(contract: TableContract, num: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows with different keys, in one slice of a partitioned table; a part of what may be null is null."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(num):
        row = {f.name: _value(f.dataType, rng) for f in contract.schema if not f.nullable or rng.random() < 0.7}
        row = {**dict.fromkeys(contract.schema.names), **row, "row_hash": int(rng.integers(-(2**62), 2**62))}
        for name in contract.key:
            if name in contract.partition_by:
                row[name] = DAY if isinstance(contract.schema[name].dataType, T.DateType) else "a slice"
            else:
                row[name] = f"k'{number}" if isinstance(contract.schema[name].dataType, T.StringType) else number + 1
        rows.append(row | _MEETS.get(contract.name, {}))
    return rows


def arrow_rows(contract: TableContract, rows: list[dict[str, Any]], **more: pa.DataType) -> pa.Table:
    """Rows in the types of a contract, and further columns."""
    fields = [field.with_nullable(True) for field in to_arrow_schema(contract.schema, timezone="UTC")]
    return pa.Table.from_pylist(rows, pa.schema([*fields, *(pa.field(name, kind) for name, kind in more.items())]))


def _value(kind: T.DataType, rng: np.random.Generator) -> Any:
    if isinstance(kind, T.ArrayType):
        return [_value(kind.elementType, rng) for _ in range(rng.integers(3))]
    if isinstance(kind, T.MapType):
        return [(f"k{n}", _value(kind.valueType, rng)) for n in range(rng.integers(3))]
    if isinstance(kind, T.StructType):
        return {field.name: _value(field.dataType, rng) for field in kind}
    return {
        "string": str(rng.choice(["", "a", "é'x\\", 'ü"\n', "日本"])) + str(rng.integers(100)),
        "boolean": bool(rng.random() < 0.5),
        "tinyint": int(rng.integers(-128, 128)),
        "int": int(rng.integers(1, 1000)),
        "bigint": int(rng.integers(1, 2**62)),
        "float": float(rng.choice([0.0, -0.5, 2.0**-100, 2.0**100])),
        "double": float(rng.choice([0.0, -0.1, 1e-300, 1e300])),
        "timestamp": datetime(1969, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(rng.integers(10**16))),
        "date": date(1999, 12, 31) + timedelta(days=int(rng.integers(10_000))),
        "binary": rng.bytes(3),
    }[kind.simpleString()]
