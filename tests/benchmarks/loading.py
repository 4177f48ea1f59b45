"""Memory of reading a snapshot's interactions: `python -m tests.benchmarks.loading --interactions 1000000`.

Rows are streamed from a Parquet file as staging leaves them; Spark, which writes that, is another process. Counted are
arrays and Python objects (tracemalloc) and Arrow's own memory, at their peaks.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

from mmrec_lib.features import load
from mmrec_lib.features.outcomes import OUTCOME_PARTS
from mmrec_lib.features.request_context import DeviceCodes
from mmrec_lib.models.ids import IdIndex

MIB = 2**20
PARTS = ("train", "valid", "test")


class StagedRows:
    """Stands for the store: what is asked of the table lies in a file already."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getattr__(self, _: str) -> Any:
        return lambda *_: self

    def stream_arrow(self, name: str, rows: object, batch_rows: int = 65_536) -> Iterator[pa.RecordBatch]:
        yield from pyarrow.dataset.dataset([str(self._path)], format="parquet").to_batches(batch_size=batch_rows)


class Expressions:
    """Stands for the functions of Spark, whose expressions nobody looks at here."""

    def __getattr__(self, _: str) -> Any:
        return lambda *_: self


def write_rows(path: Path, num_users: int, num_items: int, number: int) -> None:
    """Interactions as the columns of `training_interaction`, in 8 parts of 10 in train and one each in the others."""
    rng = np.random.default_rng(0)
    pairs = rng.choice(num_users * num_items, number, replace=False)
    users, items = (pa.array(codes) for codes in np.divmod(pairs, num_items))
    part = rng.choice(3, number, p=(0.8, 0.1, 0.1))
    columns: dict[str, pa.Array] = {
        "user_id": pa.array([f"user-{user:08d}" for user in users.to_numpy()]),
        "item_id": pa.array([f"item-{item:08d}" for item in items.to_numpy()]),
    }
    for place, name in enumerate(PARTS):
        of_others = part != place
        columns[f"{name}_weight"] = pa.array(rng.random(number) + 0.5, mask=of_others)
        columns[f"{name}_device"] = pa.nulls(number, pa.string())
        columns[f"{name}_ts"] = pa.array(np.where(of_others, 0.0, 1.7e9 + rng.integers(0, 10**7, number)))
    kind = pa.map_(pa.string(), pa.float64())
    columns |= {f"{name}_outcomes": pa.nulls(number, kind) for name in OUTCOME_PARTS}
    pq.write_table(pa.table(columns), path)


def main(arguments: list[str] | None = None) -> None:
    """Write rows, read them and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interactions", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=20_000)
    chosen = parser.parse_args(arguments)
    setattr(load, "F", Expressions())  # noqa: B010
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        write_rows(path, chosen.users, chosen.items, chosen.interactions)
        users = IdIndex([f"user-{at:08d}" for at in range(chosen.users)], "users")
        items = IdIndex([f"item-{at:08d}" for at in range(chosen.items)], "items")
        store: Any = StagedRows(path)
        users.known(["user-00000000"])  # builds the index
        items.known(["item-00000000"])
        arrow = pa.proxy_memory_pool(pa.default_memory_pool())
        pa.set_memory_pool(arrow)
        tracemalloc.start()
        start = time.process_time()
        parts, _, _ = load._load_parts(store, "snapshot", users, items, DeviceCodes())
        seconds = time.process_time() - start
        held, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    digest = hashlib.sha256()
    for part in PARTS:
        for array in (parts[part].weights.indptr, parts[part].weights.indices, parts[part].weights.data):
            digest.update(array.tobytes())
        digest.update(parts[part].times.data.tobytes())
    print(
        f"{chosen.interactions:,} interactions: {peak / MIB:.0f} MiB of arrays and objects at most, {held / MIB:.0f} "
        f"MiB held, {(arrow.max_memory() or 0) / MIB:.0f} MiB of Arrow at most; "
        f"{seconds:.1f} processor seconds with tracing; {digest.hexdigest()[:12]}"
    )


if __name__ == "__main__":
    main()
