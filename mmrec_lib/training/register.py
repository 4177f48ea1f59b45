"""A fit → a registered version: its models, what it was made from, and an example of how it is asked."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mmrec_lib.features.load import Snapshot
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.models.tuning.study import Study
from mmrec_lib.models.tuning.validation import CUT_OFF
from mmrec_lib.tracking.active_run import ActiveRun
from mmrec_lib.tracking.registry import SNAPSHOT_TAG, RegisteredModel, Registry

DATA_TAG = "mmrec.data_hash"
PUBLISHED_FIT_TAG = "mmrec.published_fit"
FITS_FOLDER = "fits"
STUDIES_FOLDER = "studies"
ENCODERS = "encoders"
"""Parameters of a run begin with it that name the encoder and revision of a content block."""
_EXAMPLE_ITEMS = 3
_SNAPSHOT_TABLES = ("training_snapshot", "training_interaction", "training_content", "training_item", "training_user")


def register_fit(
    lakehouse: Lakehouse,
    registry: Registry,
    snapshot: Snapshot,
    *,
    published: FittedRanker,
    save_fits: Callable[[Path], None],
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    studies: Sequence[Study] = (),
) -> RegisteredModel:
    """Log a run with the evaluated fits, and register the published one as a version.

    Args:
        lakehouse: Tables, whose versions become inputs of the run.
        registry: Where to.
        snapshot: What was fitted on.
        published: The model that is registered.
        save_fits: Writes the fits that are to be evaluated into a folder.
        params: Parameters of the run.
        tags: Tags of run and version, among them fingerprint and published fit.
        studies: Their trials become nested runs, with a plot of each study.
    """
    tags = {SNAPSHOT_TAG: snapshot.snapshot_id, DATA_TAG: snapshot.data_hash, **tags}
    with tempfile.TemporaryDirectory() as scratch, registry.run(f"train {snapshot.snapshot_id}", tags) as run:
        folder = Path(scratch)
        save_fits(folder / FITS_FOLDER)
        published.save(folder / "ranker")
        run.log_params({**params, "snapshot_id": snapshot.snapshot_id, ENCODERS: encoder_revisions(lakehouse)})
        if published.second_stage is not None:
            run.log_series("second_stage.loss", published.second_stage.learning_curve)
        for table, version in _table_versions(lakehouse).items():
            run.log_input_table(table, lakehouse.table_source(table), version)
        run.log_folder(folder / FITS_FOLDER, FITS_FOLDER)
        log_studies(run, studies, folder)
        return registry.register(run, folder / "ranker", _example(snapshot), tags, (FITS_FOLDER,))


def log_studies(run: ActiveRun, studies: Sequence[Study], scratch: Path) -> None:
    """Log each trial as a nested run, and what mattered as metrics and as `studies/<stage>.png`.

    Args:
        run: The open run.
        studies: Those without trials are passed over.
        scratch: Folder for the plots.
    """
    tried = [study for study in studies if study.trials]
    if not tried:
        return
    # Matplotlib takes a second to load, which a run without studies does not spend.
    from mmrec_lib.models.tuning.study_plot import plot_study

    folder = scratch / STUDIES_FOLDER
    for study in tried:
        for number, trial in enumerate(study.trials):
            metrics = {f"{study.stage}.ndcg@{CUT_OFF}": trial.ndcg, "seconds": trial.seconds}
            run.log_child(f"{study.stage} {number}", trial.values, metrics)
        importances = study.importances or {}
        run.log_metrics({f"study.{study.stage}.importance.{name}": share for name, share in importances.items()})
        folder.mkdir(exist_ok=True)
        title = study.stage.replace("_", " ")
        plot_study([trial.ndcg for trial in study.trials], importances, title, folder / f"{study.stage}.png")
    run.log_folder(folder, STUDIES_FOLDER)


def encoder_revisions(lakehouse: Lakehouse) -> dict[str, str]:
    """Released encoders and revisions by modality and field, such as `text:title`; several are divided by commas."""
    found: dict[str, list[str]] = {}
    columns = ("modality", "field", "encoder_id", "revision")
    for row in lakehouse.read("encoder_release").orderBy(*columns).select(*columns).collect():
        found.setdefault(f"{row['modality']}:{row['field']}", []).append(f"{row['encoder_id']} {row['revision']}")
    return {block: ", ".join(encoders) for block, encoders in found.items()}


def _table_versions(lakehouse: Lakehouse) -> dict[str, int]:
    """Versions of the tables that the snapshot was made from, and of its own."""
    row = lakehouse.read("training_snapshot").where("is_current").select("table_versions").collect()[0]
    own = lakehouse.data_versions(_SNAPSHOT_TABLES)
    return dict(row["table_versions"]) | {name: version for name, version in own.items() if version is not None}


def _example(snapshot: Snapshot) -> pd.DataFrame:
    """Two users as the served model takes them: one with a history, one without."""
    items = [str(item) for item in snapshot.item_ids[:_EXAMPLE_ITEMS]]
    attributes = {name: str(values[0]) for name, values in snapshot.user_attributes.items() if values[0] is not None}
    return pd.DataFrame(
        {"item_ids": [items, []], "weights": [[1.0] * len(items), []], "attributes": [json.dumps(attributes), "{}"]}
    )
