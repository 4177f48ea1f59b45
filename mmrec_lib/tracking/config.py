"""Where runs and models are kept."""

from __future__ import annotations

from mmrec_lib.config import Section


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
