"""Encoders that a gate released or refused: their rows, their runs in MLflow, and their versions in its registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyspark.sql import functions as F

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.encoders.weights.directory import directory_revision
from mmrec_lib.errors import EncoderError
from mmrec_lib.lakehouse.merging import Staged
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.recipes.adapt_config import AdaptedKind
from mmrec_lib.recipes.behaviour import Comparison
from mmrec_lib.recipes.epochs import Course
from mmrec_lib.tracking.registry import CHAMPION, FINGERPRINT_TAG, Registry, ServedModel

_TEXT_EXAMPLE = pd.DataFrame({"text": ["a red shoe", "a warm winter coat"]})


@dataclass(frozen=True)
class Verdict:
    """An encoder that was trained, with what the gate read.

    Attributes:
        encoder_id: Its directory under `models.root`.
        method: How it was made.
        base: Name and revision of the encoder that it comes from.
        revision: Its revision; empty where it was not released.
        compared: What was compared, by metric and cut-off.
        num_texts: Pairs or texts that it learned from.
        courses: Courses of its steps by name.
        times_faster: How many times faster it encodes than its base; None where both are of one size.
        kind: Kind of the encoder.
    """

    encoder_id: str
    method: str
    base: tuple[str, str]
    revision: str
    compared: Mapping[tuple[str, int], Comparison]
    num_texts: int
    courses: Mapping[str, Course] = field(default_factory=dict)
    times_faster: float | None = None
    kind: AdaptedKind = "text"

    @property
    def is_released(self) -> bool:
        """True where it lies under `models.root`."""
        return bool(self.revision)

    def rows(self) -> list[dict[str, Any]]:
        """Rows of `encoder_adaptation`, one a metric."""
        return [
            {
                "encoder_id": self.encoder_id,
                "revision": self.revision,
                "base_encoder_id": self.base[0],
                "base_revision": self.base[1],
                "metric": metric,
                "k": k,
                "base_value": one.base_value,
                "value": one.value,
                "diff_low": one.diff_low,
                "diff_high": one.diff_high,
                "num_users": one.num_users,
                "num_pairs": self.num_texts,
                "is_released": self.is_released,
                "method": self.method,
            }
            for (metric, k), one in self.compared.items()
        ]


def write_verdicts(lakehouse: Lakehouse, verdicts: list[Verdict]) -> None:
    """Bring what was compared, and the decisions, into `encoder_adaptation`."""
    contract = CONTRACTS["encoder_adaptation"]
    rows = [row for verdict in verdicts for row in verdict.rows()]
    types = {"k": pa.int32()}
    table = pa.table(
        {name: pa.array([row[name] for row in rows], types.get(name)) for name in contract.content_columns}
    )
    lakehouse.merge("encoder_adaptation", Staged(lakehouse.from_arrow(table, contract)))


def log_encoder(registry: Registry, verdict: Verdict, params: Mapping[str, Any], directory: Path) -> None:
    """A run of MLflow with settings, curves and figures; where it was released, a version of the encoder as well.

    The registered model is `mmrec-<name>`, in the catalogue and schema of the ranker where that has them. An encoder of
    the same files is registered once; its newest release is the champion.

    Args:
        registry: MLflow, of the ranker.
        verdict: The encoder.
        params: Settings.
        directory: Where it lies, if it was released.
    """
    # Dots divide catalogue, schema and model.
    own = registry.of_model(f"mmrec-{verdict.encoder_id.replace('.', '-')}")
    tags = {"encoder": verdict.encoder_id, "revision": verdict.revision, "released": str(verdict.is_released)}
    with own.run(f"adapt {verdict.base[0]}", tags) as run:
        run.log_params({**params, "base_revision": verdict.base[1], "method": verdict.method})
        for name, course in verdict.courses.items():
            run.log_series(f"{name}/loss", course.losses)
            run.log_series(f"{name}/validation", course.scores[1:])
        metrics = {} if verdict.times_faster is None else {"times_faster": verdict.times_faster}
        for row in verdict.rows():
            for figure in ("base_value", "value", "diff_low", "diff_high"):
                metrics[f"{row['metric']}@{row['k']}/{figure}"] = row[figure]
        run.log_metrics(metrics)
        if not verdict.is_released:
            return
        model = own.by_fingerprint(verdict.revision)
        if model is None:
            tags |= {FINGERPRINT_TAG: verdict.revision}
            model = own.register_model(run, _served(verdict.kind, directory), tags)
        own.set_alias(CHAMPION, model.version)


def _served(kind: AdaptedKind, directory: Path) -> ServedModel:
    """An encoder as MLflow serves it."""
    if kind == "joint":
        from mmrec_lib.recipes import joint_pyfunc

        signature, example = joint_pyfunc.signature(), joint_pyfunc.example()
        return ServedModel("model", joint_pyfunc.__name__, "JointModel", directory, signature, example)
    if kind == "image":
        from mmrec_lib.recipes import image_pyfunc

        signature, example = image_pyfunc.signature(), image_pyfunc.example()
        return ServedModel("model", image_pyfunc.__name__, "ImageModel", directory, signature, example)
    from mmrec_lib.recipes import encoder_pyfunc

    return ServedModel(
        "model", encoder_pyfunc.__name__, "EncoderModel", directory, encoder_pyfunc.signature(), _TEXT_EXAMPLE
    )


def is_release_there(lakehouse: Lakehouse, encoder_id: str, root: str) -> bool:
    """Tell if the directory of an encoder holds what was released last; true where nothing was."""
    if not lakehouse.exists("encoder_adaptation"):
        return True
    released = lakehouse.read("encoder_adaptation").where((F.col("encoder_id") == encoder_id) & F.col("is_released"))
    newest = released.orderBy(F.desc("written_at")).select("revision").limit(1).collect()
    if not newest:
        return True
    try:
        return directory_revision(Path(root, encoder_id)) == str(newest[0]["revision"])
    except EncoderError:
        return False
