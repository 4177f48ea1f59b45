"""The joint space of a snapshot as a row of a table, and back."""

from __future__ import annotations

import json
from typing import Any

from pyspark.sql import functions as F
from safetensors.numpy import load, save

from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.alignment.aligner import Aligner


def alignment_row(snapshot_id: str, aligner: Aligner) -> dict[str, Any]:
    """Columns of `alignment_model`."""
    return {
        "snapshot_id": snapshot_id,
        "method": aligner.method,
        "dim": aligner.dim,
        "document": json.dumps(aligner.meta(), sort_keys=True),
        "arrays": save(aligner.arrays()),
    }


def load_aligner(lakehouse: Lakehouse, snapshot_id: str) -> Aligner | None:
    """The joint space that was learned from a snapshot; None where there is none."""
    if not lakehouse.exists("alignment_model"):
        return None
    rows = lakehouse.read("alignment_model").where(F.col("snapshot_id") == snapshot_id).limit(1).collect()
    return Aligner.load(load(bytes(rows[0]["arrays"])), json.loads(rows[0]["document"])) if rows else None
