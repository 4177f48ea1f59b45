"""Settings of MLflow: the place of runs and models."""

from __future__ import annotations

import re

from pydantic import field_validator

from mmrec_lib.section import Section

_MODEL_NAME = re.compile(r"\w[\w\- ]*(\.\w[\w\- ]*)*", flags=re.ASCII)


class TrackingConfig(Section):
    """MLflow.

    Attributes:
        tracking_uri: Tracking server; None means `<out>/mlflow.db`.
        registry_uri: Model registry; None means the tracking server's own.
        experiment: Name of the experiment.
        model_name: Name of the registered ranker; three-part in Unity Catalog.
    """

    tracking_uri: str | None = None
    registry_uri: str | None = None
    experiment: str = "mmrec"
    model_name: str = "mmrec_ranker"

    @field_validator("model_name")
    @classmethod
    def _plain(cls, value: str) -> str:
        if not _MODEL_NAME.fullmatch(value):
            raise ValueError("a model's name has letters, digits, `_`, `-` and spaces, in parts divided by dots")
        return value
