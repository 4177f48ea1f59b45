"""Making tables: a folder without a commit is no table, and what a killed run left of one is put out of the way."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from pathlib import Path

import pyarrow.fs
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from mmrec_lib.contracts.table import TableContract
from mmrec_lib.errors import StoreError
from mmrec_lib.lakehouse.ddl import create_statement
from mmrec_lib.lakehouse.evolution import add_checks
from mmrec_lib.lakehouse.staging import is_link
from mmrec_lib.location import filesystem_of, is_uri

LOG = "_delta_log"
_COMMIT = re.compile(r"\d{20}(?:\.checkpoint.*)?\.(?:json|parquet)")
# What Delta writes before the first commit is in its place: temporary files, checksums and empty folders.
_REMNANT = re.compile(r"\..*|\d{20}\.crc|_commits|_staged_commits|_sidecars|_last_checkpoint")
_NOT_EMPTY = re.compile(r"CREATE_TABLE_WITH_NON_EMPTY_LOCATION\].*\('(?P<location>[^']+)'\)", re.DOTALL)
_log = logging.getLogger(__name__)


def has_commits(table_folder: str) -> bool:
    """Tell if a folder holds a table: a log with a commit or a checkpoint.

    A run that was killed, or whose disk was full, while it made the table leaves a log folder with neither.
    """
    fs, root = filesystem_of(f"{table_folder}/{LOG}")
    try:
        infos = fs.get_file_info(pyarrow.fs.FileSelector(root, allow_not_found=True))
    except NotADirectoryError:
        return False
    return any(_COMMIT.fullmatch(info.base_name) for info in infos)


def create_table(spark: SparkSession, contract: TableContract, identifier: str, folder: str | None) -> None:
    """Create a table with the constraints of its contract; nothing when it is there.

    Args:
        spark: Session.
        contract: The table.
        identifier: Its SQL name.
        folder: Its folder in path mode; None in catalogue mode.

    Raises:
        StoreError: When something that is no table stands in its place and is not a killed run's.
    """
    if folder is not None:
        if not has_commits(folder):
            put_remnants_away(folder)
        # Constraints come with the first commit. A catalogue may not take them as properties.
        spark.sql(create_statement(contract, identifier, with_checks=True))
        return
    statement = create_statement(contract, identifier, with_checks=False)
    try:
        spark.sql(statement)
    except PySparkException as error:
        found = _NOT_EMPTY.search(str(error))
        if found is None:
            raise
        location = found["location"]
        if is_uri(location) or has_commits(location.removeprefix("file:")):
            raise StoreError(
                f"Table {contract.name}: its place {location} holds files, but the catalogue knows no table there: a "
                "run was killed while it made the table, or the table was dropped by hand. Move that folder away and "
                "run again."
            ) from error
        put_remnants_away(location.removeprefix("file:"))
        spark.sql(statement)
    add_checks(spark, contract, identifier)


def put_remnants_away(folder: str) -> None:
    """Clear the place of a table that has no commit: Delta takes its log folder for a table, and never makes one.

    What Delta leaves before a first commit is removed. Where there is anything else, such as data files whose log was
    removed by hand, the whole folder is kept under another name, `<table>.without-log-<time>`.
    """
    fs, path = filesystem_of(folder)
    if fs.get_file_info(path).type == pyarrow.fs.FileType.NotFound and not is_link(path):
        return
    if not isinstance(fs, pyarrow.fs.LocalFileSystem):
        # Object stores have no folders: without a commit nothing is in the way but temporary files.
        return
    place = Path(path)
    log = place / LOG
    names = [entry.name for entry in place.iterdir()] if place.is_dir() and not place.is_symlink() else ["?"]
    if log.is_dir() and not log.is_symlink() and set(names) <= {LOG, f".{LOG}.crc"}:
        _remove_remnants(log)
    with contextlib.suppress(OSError):
        place.rmdir()
        return
    aside = place.with_name(f"{place.name}.without-log-{time.time_ns() // 1_000_000}")
    place.rename(aside)
    _log.warning("%s holds no commit and is no table; what was there is kept as %s", place, aside.name)


def _remove_remnants(log: Path) -> None:
    """Remove a log folder if it holds what Delta leaves before a first commit and nothing else."""
    entries = list(log.iterdir())
    if not all(_REMNANT.fullmatch(entry.name) for entry in entries):
        return
    with contextlib.suppress(OSError):
        for entry in entries:
            if entry.is_dir() and not entry.is_symlink():
                entry.rmdir()
            else:
                entry.unlink()
        log.rmdir()
