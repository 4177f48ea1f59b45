"""The job align_modalities: a snapshot → the joint space of its items, and contents that contradict each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.features.alignment_model import alignment_row
from mmrec_lib.features.load import SNAPSHOT_TABLES, Snapshot, load_items, load_snapshot
from mmrec_lib.lakehouse.actions import side_by_side
from mmrec_lib.lakehouse.arrow_tables import arrow_schema
from mmrec_lib.lakehouse.merging import Staged
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.alignment.aligner import Aligner
from mmrec_lib.models.alignment.config import AlignmentConfig
from mmrec_lib.models.alignment.findings import Finding, duplicate_findings, modality_findings, price_findings
from mmrec_lib.models.alignment.fit import Alignment, align
from mmrec_lib.models.data import Content, Floats

READS = SNAPSHOT_TABLES
WRITES = ("aligned_embedding", "alignment_model", "alignment_metric", "content_finding")
ALL_MODALITIES = "all"
TableRows: TypeAlias = Sequence[dict[str, Any]] | pa.Table
_CUT_OFF = 10


def align_modalities(lakehouse: Lakehouse, config: AlignmentConfig) -> tuple[dict[str, int], str]:
    """Bring the joint space and the findings to the current snapshot; what is not asked for is taken away.

    The space is learned from what fit 1 may know; vectors and findings are of the contents of today.

    Returns:
        Counts and a message for job_run; no counts where nothing is asked for.

    Raises:
        NoDataError: When there is no snapshot.
    """
    if config.method == "none" and not config.find_contradictions:
        side_by_side([partial(_replace_all, lakehouse, name, []) for name in WRITES])
        return {}, "no joint space asked for (alignment.method is none), nor findings"
    snapshot = load_snapshot(lakehouse, with_aligner=False)
    alignment = align(snapshot.fit_data("fit1"), config)
    contents = snapshot.fit_data("fit3").contents
    findings = _findings(lakehouse, snapshot, alignment, contents, config) if config.find_contradictions else []
    tables, num_aligned = _space_tables(snapshot, alignment, contents)
    tables["content_finding"] = [_finding_row(snapshot, finding) for finding in findings]
    side_by_side([partial(_replace_all, lakehouse, name, rows) for name, rows in tables.items()])
    counts = {"items": len(snapshot.item_ids), "aligned": num_aligned}
    message = _told(alignment, num_aligned, config)
    if config.find_contradictions:
        kinds = Counter(finding.kind for finding in findings)
        counts |= {f"finding.{kind}": number for kind, number in sorted(kinds.items())}
        told = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
        message += f"; findings: {told or 'none'}"
    return counts, message


def _space_tables(
    snapshot: Snapshot, alignment: Alignment, contents: Mapping[str, Content]
) -> tuple[dict[str, TableRows], int]:
    """Rows of the tables of the joint space, by table, and the number of items with a vector."""
    aligner, snapshot_id = alignment.aligner, snapshot.snapshot_id
    if aligner is None:
        return {"aligned_embedding": [], "alignment_metric": [], "alignment_model": []}, 0
    joint = aligner.block(contents, len(snapshot.item_ids), snapshot.item_ids)
    assert isinstance(joint.matrix, np.ndarray)
    of_modalities = aligner.vectors(contents, snapshot.item_ids)
    vectors = {ALL_MODALITIES: joint.matrix, **of_modalities}
    metrics = [
        {
            "snapshot_id": snapshot_id,
            "method": aligner.method,
            "source_modality": one.source,
            "target_modality": one.target,
            "metric": "recall",
            "k": one.k,
            "value": one.value,
            "chance": one.chance,
            "num_items": one.num_items,
        }
        for one in alignment.retrieval
    ]
    tables: dict[str, TableRows] = {
        "aligned_embedding": pa.concat_tables(
            [_vector_rows(snapshot, aligner, modality, rows) for modality, rows in vectors.items()]
        ),
        "alignment_metric": metrics,
        "alignment_model": [alignment_row(snapshot_id, aligner)],
    }
    return tables, int(joint.has.sum())


def _vector_rows(snapshot: Snapshot, aligner: Aligner, modality: str, vectors: Floats) -> pa.Table:
    known = np.flatnonzero(vectors.any(axis=1))
    dim = vectors.shape[1]
    offsets = pa.array(np.arange(len(known) + 1, dtype=np.int32) * dim)
    columns = {
        "item_id": pa.array(snapshot.item_ids[known].tolist(), pa.string()),
        "modality": pa.array([modality] * len(known), pa.string()),
        "method": pa.array([aligner.method] * len(known), pa.string()),
        "snapshot_id": pa.array([snapshot.snapshot_id] * len(known), pa.string()),
        "dim": pa.array(np.full(len(known), dim, dtype=np.int32)),
        "vector": pa.ListArray.from_arrays(offsets, pa.array(vectors[known].ravel())),
    }
    return pa.table(columns)


def _findings(
    lakehouse: Lakehouse,
    snapshot: Snapshot,
    alignment: Alignment,
    contents: Mapping[str, Content],
    config: AlignmentConfig,
) -> list[Finding]:
    items = load_items(lakehouse, ("title", "price", "categories")).table
    item_ids = snapshot.item_ids
    found = list(duplicate_findings(contents, items["title"].to_pylist(), item_ids, config))
    prices = items["price"].cast(pa.float64()).to_numpy()
    found += price_findings(prices, [names or [] for names in items["categories"].to_pylist()], config)
    if alignment.likeness is not None:
        found += modality_findings(alignment.likeness, contents, item_ids)
    return found


def _finding_row(snapshot: Snapshot, finding: Finding) -> dict[str, Any]:
    return {
        "item_id": str(snapshot.item_ids[finding.item]),
        "kind": finding.kind,
        "against": finding.against,
        "score": finding.score,
        "threshold": finding.threshold,
        "told": finding.told,
    }


def _told(alignment: Alignment, num_aligned: int, config: AlignmentConfig) -> str:
    if config.method == "none":
        return "no joint space asked for (alignment.method is none)"
    if alignment.aligner is None:
        return f"no joint space by {config.method}: {alignment.reason}"
    recalls = [
        f"{one.source} to {one.target} {one.value:.2f} ({one.chance:.2f} by chance)"
        for one in alignment.retrieval
        if one.k == _CUT_OFF
    ]
    measured = f"; recall@{_CUT_OFF} on unseen items: {', '.join(recalls)}" if recalls else ""
    return f"joint space by {config.method}, {num_aligned} items{measured}"


def _replace_all(lakehouse: Lakehouse, name: str, rows: TableRows) -> None:
    """Make a table consist of these rows; one that is to be empty and is not there is not made."""
    if not len(rows) and not lakehouse.exists(name):
        return
    contract = CONTRACTS[name]
    schema = arrow_schema(contract.input_schema)
    table = rows.select(schema.names) if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows), schema=schema)
    made = lakehouse.from_arrow(table.cast(schema), contract)
    lakehouse.merge(name, Staged(made), delete_keys=lakehouse.read(name))
