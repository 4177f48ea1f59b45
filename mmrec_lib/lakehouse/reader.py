"""A store opened for reading only: for notebooks and other readers that run no job."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path

from pyspark.sql import SparkSession

from mmrec_lib.errors import ConfigError, StoreError
from mmrec_lib.lakehouse.config import SparkConfig, StoreConfig
from mmrec_lib.lakehouse.session import build_session
from mmrec_lib.lakehouse.staging import NO_STAGING
from mmrec_lib.lakehouse.store import CARD, FORMAT_VERSION
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.location import is_uri


def open_lakehouse(
    spark: SparkSession | None = None,
    out: str | None = None,
    *,
    catalog: str | None = None,
    schema_name: str | None = None,
    staging: str | None = None,
) -> Lakehouse:
    """The tables of a finished store, to be read; neither locks the store nor writes to it.

    Args:
        spark: Session to read with; None makes a small local one.
        out: Output folder or URI of path mode.
        catalog: Catalogue of catalogue mode.
        schema_name: Schema of catalogue mode.
        staging: Folder or URI for temporary files, such as one in a volume. Without one, what needs some, such as
            `ListExplainer`, is refused in catalogue mode; path mode has the store's own.

    Raises:
        ConfigError: When not exactly one store is named.
        StoreError: When `out` holds no store, or one of another format version.
        MachineError: When a local session is needed and Java is missing or too old.
    """
    if bool(out) == bool(catalog and schema_name):
        raise ConfigError(
            "store: one of `out` (a folder) and `catalog` with `schema_name` is needed, "
            f"got out={out!r}, catalog={catalog!r}, schema_name={schema_name!r}."
        )
    if out:
        store = StoreConfig(out=out, staging=staging)
        _require_store(store)
    else:
        # Readers publish nothing.
        store = StoreConfig(
            catalog=catalog, schema_name=schema_name, staging=staging or NO_STAGING, report_folder="unused"
        )
    session = spark if spark is not None else build_session(SparkConfig(master="local[2]", driver_memory="2g"))
    # Of its own, as several readers of a store may stage at once.
    run_id = f"reader-{uuid.uuid4().hex[:12]}"
    return Lakehouse(session, store, run_id, datetime.now(UTC))


def _require_store(store: StoreConfig) -> None:
    assert store.out is not None
    if is_uri(store.out):
        return
    card = Path(store.out) / CARD
    if not card.is_file():
        raise StoreError(f"OUT {store.out} holds no store ({CARD} is missing). Name the OUT of a finished run.")
    try:
        version = json.loads(card.read_text(encoding="utf-8"))["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{card} is not a store's card ({error}). Name the OUT of a finished run.") from error
    if version != FORMAT_VERSION:
        raise StoreError(f"OUT {store.out} has store format {version}, this mmrec reads format {FORMAT_VERSION}.")
