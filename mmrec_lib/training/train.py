"""A snapshot → a candidate: settings chosen on validation, three fits, one registered version."""

from __future__ import annotations

import hashlib
import inspect
import json
import tempfile
from pathlib import Path

import pandas as pd

import mmrec_lib.models
from mmrec_lib.features.load import Snapshot, load_snapshot
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.config import TrainingConfig
from mmrec_lib.models.pyfunc_file import recommend
from mmrec_lib.models.ranker import FittedRanker, fit_ranker
from mmrec_lib.tracking.registry import FINGERPRINT_TAG, Registry
from mmrec_lib.training.fits import choose_all, published_fit, save_fits

READS = ("training_snapshot", "training_interaction", "training_content", "user_profile", "user", "item")
SNAPSHOT_TAG = "mmrec.snapshot_id"
FITS_FOLDER = "fits"
_EXAMPLE_ITEMS = 3


def train(lakehouse: Lakehouse, registry: Registry, config: TrainingConfig) -> tuple[dict[str, int], str]:
    """Fit and register a candidate; one that was registered for the same fit is found, not made again.

    Returns:
        Counts and a message for job_run.
    """
    snapshot = load_snapshot(lakehouse)
    fingerprint = fit_fingerprint(snapshot.snapshot_id, config)
    counts = {name: int(part.weights.nnz) for name, part in snapshot.parts.items()}
    counts |= {"items": len(snapshot.item_ids), "users": len(snapshot.user_ids)}
    known = registry.by_fingerprint(fingerprint)
    if known is not None:
        return counts, f"version {known.version} was registered for this fit before"
    chosen = choose_all(snapshot, config)
    fit = published_fit(snapshot, config)
    published = fit_ranker(snapshot.fit_data(fit), chosen.ranker)
    tags = {SNAPSHOT_TAG: snapshot.snapshot_id, FINGERPRINT_TAG: fingerprint, "mmrec.published_fit": fit}
    with tempfile.TemporaryDirectory() as scratch, registry.run(f"train {snapshot.snapshot_id}", tags) as run:
        folder = Path(scratch)
        save_fits(snapshot, chosen, config, folder / FITS_FOLDER)
        published.save(folder / "ranker")
        settings = {name: s.model_dump(mode="json") for name, s in chosen.baselines.items()}
        run.log_params(
            {
                "training": config.model_dump(mode="json"),
                "ranker": chosen.ranker.model_dump(mode="json"),
                "baseline": settings,
                "snapshot_id": snapshot.snapshot_id,
            }
        )
        for table, version in _table_versions(lakehouse).items():
            run.log_input_table(table, lakehouse.table_source(table), version)
        run.log_folder(folder / FITS_FOLDER, FITS_FOLDER)
        example = _example(snapshot, published)
        answer = recommend(published, example)
        model = run.register(Path(inspect.getfile(recommend)), folder / "ranker", example, answer, tags)
    return counts, f"version {model.version}, {chosen.ranker.dim} dimensions, published {fit}"


def fit_fingerprint(snapshot_id: str, config: TrainingConfig) -> str:
    """Identity of a fit: its data, its config and the code of the models."""
    digest = hashlib.sha256(snapshot_id.encode())
    digest.update(json.dumps(config.model_dump(mode="json"), sort_keys=True).encode())
    assert mmrec_lib.models.__file__ is not None
    for path in sorted(Path(mmrec_lib.models.__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _table_versions(lakehouse: Lakehouse) -> dict[str, int]:
    """Versions of the tables that the snapshot was made from, and of its own."""
    row = lakehouse.read("training_snapshot").where("is_current").select("table_versions").collect()[0]
    own = lakehouse.data_versions(("training_snapshot", "training_interaction", "training_content"))
    return dict(row["table_versions"]) | {name: version for name, version in own.items() if version is not None}


def _example(snapshot: Snapshot, ranker: FittedRanker) -> pd.DataFrame:
    """Two users as the served model takes them: one with a history, one without."""
    items = [str(item) for item in snapshot.item_ids[:_EXAMPLE_ITEMS]]
    attributes = {name: str(values[0]) for name, values in snapshot.user_attributes.items() if values[0] is not None}
    return pd.DataFrame(
        {"item_ids": [items, []], "weights": [[1.0] * len(items), []], "attributes": [json.dumps(attributes), "{}"]}
    )
