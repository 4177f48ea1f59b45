"""The store of a notebook: named by widgets on Databricks, by environment variables elsewhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.lakehouse.reader import open_lakehouse
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.tracking.config import TrackingConfig
from mmrec_lib.tracking.registry import Registry


@dataclass(frozen=True)
class Notebook:
    """The store that a notebook reads.

    Attributes:
        lakehouse: Its tables; nothing is written.
        registry: Its models.
        models: Where the encoders' directories lie.
        scope: The notebook's `globals()`.
    """

    lakehouse: Lakehouse
    registry: Registry
    models: ModelsConfig
    scope: Mapping[str, Any]

    def setting(self, name: str, default: str) -> str:
        """A setting of the notebook: the widget of that name, or the environment variable `MMREC_<NAME>`."""
        return _setting(self.scope, name, default)


def open_notebook(scope: Mapping[str, Any]) -> Notebook:
    """Open the store that the widgets (`out`, or `catalog` and `schema`) or the environment (`MMREC_OUT`, …) name.

    Args:
        scope: The notebook's `globals()`: there Databricks puts `dbutils` and `spark`.

    Raises:
        ConfigError: When not exactly one store is named.
        StoreError: When it is no finished store.
    """
    is_databricks = "dbutils" in scope
    out = _setting(scope, "out", "" if is_databricks else "out/demo")
    catalog, schema = _setting(scope, "catalog", "main"), _setting(scope, "schema", "mmrec")
    volume = f"/Volumes/{catalog}/{schema}/work"  # what the bundle works in, see databricks.yml
    models = ModelsConfig(root=_setting(scope, "models", f"{volume}/models" if is_databricks else "models"))
    if out:
        lakehouse = open_lakehouse(scope.get("spark"), out)
        return Notebook(lakehouse, Registry(TrackingConfig(), lakehouse.store), models, scope)
    staging = _setting(scope, "staging", f"{volume}/staging")
    lakehouse = open_lakehouse(scope.get("spark"), catalog=catalog, schema_name=schema, staging=staging)
    tracking = TrackingConfig(
        tracking_uri="databricks", registry_uri="databricks-uc", model_name=f"{catalog}.{schema}.mmrec_ranker"
    )
    return Notebook(lakehouse, Registry(tracking, lakehouse.store), models, scope)


def _setting(scope: Mapping[str, Any], name: str, default: str) -> str:
    if "dbutils" in scope:
        widgets = scope["dbutils"].widgets
        widgets.text(name, default)
        return str(widgets.get(name))
    return os.environ.get(f"MMREC_{name.upper()}", default)
