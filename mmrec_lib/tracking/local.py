"""The MLflow of a store in a folder: `<out>/mlflow.db` and `<out>/mlartifacts`, which move with the folder.

MLflow keeps where artifacts lie as absolute paths and has no command that changes them. So that a store that was moved
or copied uses its own artifacts, and never those of the store it was copied from, every opening compares the recorded
folder with the one that the database lies in and, where they differ, writes the new one, in one transaction.

MLflow makes its tables in some dozens of steps and never goes on with a database that has half of them. So it makes
them in a file of another name, which takes its place when it is whole.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from mmrec_lib.errors import ModelError
from mmrec_lib.tracking.names import sqlite_uri

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"

# Columns that hold places of artifacts, in MLflow 3; a database of an older version lacks some.
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
)


def artifact_place(out: str) -> str:
    """Folder of the artifacts of a store, as MLflow takes places: it reads `%20` in a local path as a space."""
    return f"{_encoded(out)}/{ARTIFACTS}"


def check_database(path: Path) -> None:
    """Read a database through once.

    Raises:
        ModelError: When it is damaged or is no database; MLflow would try for minutes and end in a trace.
    """
    try:
        with _opened(path) as database:
            told = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        told = str(error)
    if told != "ok":
        raise ModelError(
            f"MLflow's database {path} cannot be read ({told}). Put a backup in its place, or remove the file: "
            "then the next run trains and registers the models again."
        )


def is_unfinished(path: Path) -> bool:
    """Tell if a database is missing, or holds nothing yet: a run was killed, or its disk was full, while it made it."""
    if not path.exists():
        return True
    with _opened(path) as database:
        # MLflow ends with an experiment of its own.
        filled = [name for name in ("experiments", "registered_models") if _columns(database, name)]
        return not any(database.execute(f"SELECT EXISTS (SELECT 1 FROM {name})").fetchone()[0] for name in filled)


def make_database(path: Path) -> None:
    """Make an empty database of the installed MLflow, whole or not at all; what is at its place goes."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # Each try has a name of its own: MLflow keeps connections by name, also to a file that is gone.
    draft = path.with_name(f".{path.name}-{uuid.uuid4().hex}.part")
    _remove_drafts(path)
    try:
        store = SqlAlchemyStore(sqlite_uri(str(draft)), artifact_place(str(path.parent)))
        store.engine.dispose()
        draft.replace(path)
    finally:
        _remove_drafts(path)


def _remove_drafts(path: Path) -> None:
    """Remove what this run or killed ones left of databases that were not finished, their journals too."""
    for file in path.parent.glob(f".{path.name}-{'[0-9a-f]' * 32}.part*"):
        file.unlink(missing_ok=True)


def recorded_folders(path: Path) -> list[str]:
    """Folders of stores that a database names as the place of its artifacts, other than its own folder."""
    own = str(path.parent)
    with _opened(path) as database:
        if "artifact_location" not in _columns(database, "experiments"):
            return []
        rows = database.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
    places = [str(place).removeprefix("file://") for (place,) in rows if place]
    folders = {
        place.removesuffix(f"/{ARTIFACTS}").replace("%25", "%") for place in places if place.endswith(f"/{ARTIFACTS}")
    }
    return sorted(folders - {own})


def move_places(path: Path) -> int:
    """Make a database name the artifacts in its own folder; all places or none are changed.

    Returns:
        How many places were changed: 0 unless the folder was moved or copied.

    Raises:
        ModelError: When the folder was moved and the database cannot be written.
    """
    folders = recorded_folders(path)
    if not folders:
        return 0
    own, changed = str(path.parent), 0
    try:
        with _opened(path) as database, database:
            database.execute("BEGIN IMMEDIATE")
            for old in folders:
                for table, column in _PLACES:
                    if column in _columns(database, table):
                        changed += _move_column(database, table, column, old, own)
                changed += _move_inputs(database, old, own)
    except sqlite3.DatabaseError as error:
        raise ModelError(
            f"MLflow's database {path} still names artifacts of {', '.join(folders)}, where this store lay before, and "
            f"cannot be changed ({error}). Make it writable for one run."
        ) from error
    return changed


def _move_column(database: sqlite3.Connection, table: str, column: str, old: str, own: str) -> int:
    changed = 0
    for scheme in ("", "file://"):
        before, after = f"{scheme}{_encoded(old)}/", f"{scheme}{_encoded(own)}/"
        found = database.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
            f"WHERE substr({column}, 1, ?) = ? AND substr({column}, 1, ?) <> ?",
            (after, len(before) + 1, len(before), before, len(after), after),
        )
        changed += found.rowcount
    return changed


def _move_inputs(database: sqlite3.Connection, old: str, own: str) -> int:
    """Paths of the tables that runs read."""
    if "dataset_source" not in _columns(database, "datasets"):
        return 0
    changed = 0
    for key, text in database.execute("SELECT dataset_uuid, dataset_source FROM datasets").fetchall():
        try:
            source = json.loads(text)
        except ValueError:
            continue  # a source that somebody else logged
        place = str(source.get("path", "")) if isinstance(source, dict) else ""
        if place.startswith(f"{old}/") and not place.startswith(f"{own}/"):
            source["path"] = own + place.removeprefix(old)
            database.execute("UPDATE datasets SET dataset_source = ? WHERE dataset_uuid = ?", (json.dumps(source), key))
            changed += 1
    return changed


def _encoded(folder: str) -> str:
    return folder.replace("%", "%25")


def _columns(database: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in database.execute(f"PRAGMA table_info({table})").fetchall()}


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection in which every transaction is explicit; it waits for a reader such as MLflow's pages."""
    with closing(sqlite3.connect(path, timeout=30.0, isolation_level=None)) as database:
        yield database
