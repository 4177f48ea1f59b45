"""A store's registry with one small ranker in it: version 1, the champion."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.tracking.config import TrackingConfig
from mmrec_lib.tracking.registry import CHAMPION, FINGERPRINT_TAG, Registry
from tests.unit.models.checkerboard import SETTINGS, checkerboard

TAGS = {"mmrec.snapshot_id": "s1", FINGERPRINT_TAG: "f" * 64}
HEADPHONE = "\N{HEADPHONE}"
LONG_NAME = "ranker.content_weights.graph:" + "long " * 400


def small_ranker() -> FittedRanker:
    """A ranker of the checkerboard's 40 items."""
    return fit_ranker(checkerboard().train, SETTINGS)


def open_registry(out: Path, *, read_only: bool = False) -> Registry:
    """The registry in a store's folder, as a new process opens it."""
    return Registry(TrackingConfig(), StoreConfig(out=str(out)), read_only=read_only)


def write_registered_store(out: Path, ranker: FittedRanker) -> None:
    """Registers a ranker, with names and texts that MLflow would refuse, in a new folder."""
    files = out.parent / f"{out.name}-files"
    ranker.save(files / "ranker")
    (files / "fits").mkdir()
    (files / "fits" / "fits.json").write_text("{}", encoding="utf-8")
    (files / "plot.png").write_bytes(b"png")
    (files / "model_card.md").write_text("# Model card", encoding="utf-8")
    out.mkdir()
    registry = open_registry(out)
    with registry.run("train", {"a tag (of %)": f"value {HEADPHONE}"}) as run:
        run.log_params({"ranker": {"content_weights": {"graph:made of (%)": 0.5}}, LONG_NAME: "v" * 9_000})
        run.log_metrics({"audio-my@model/storage_recall@10": 0.9})
        run.log_input_table("event", f"{out}/tables/event", 3)
        run.log_folder(files / "fits", "fits")
        example = pd.DataFrame({"item_ids": [["i00"]], "weights": [[1]]})
        model = registry.register(run, files / "ranker", example, TAGS, ("fits",))
    registry.set_alias(CHAMPION, model.version)
    registry.log_artifact(model, files / "plot.png", "plots")
    registry.seal_folder(model, "plots", "mmrec.plots")
    registry.log_artifact(model, files / "model_card.md", "model_card")
    registry.seal_folder(model, "model_card", "mmrec.model_card")
