"""Bronze tables that are gone: every landing file is read again, where all that was delivered is still there."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.errors import StoreError
from mmrec_lib.ingest.landing import LandingFolder
from mmrec_lib.ingest.landing.plan import commit_path
from mmrec_lib.ingest.run import landing_of
from mmrec_lib.lakehouse.ledger import LostTable
from mmrec_lib.lakehouse.tables import Lakehouse

# Tables that records of other kinds fill too. None of records: what is in the store is enough to make it.
_KINDS: dict[str, tuple[str, ...] | None] = {
    "user": ("user", "event", "review", "user_edge", "user_control"),
    "tombstone": ("item", "user", "user_control"),
    "quarantine": None,
    "media_asset": (),
    "media_link": (),
    "data_quality_result": (),
    "landing_file": (),
}
_NAMED = 3
_log = logging.getLogger(__name__)


def read_all_again(lakehouse: Lakehouse, lost: Sequence[LostTable]) -> None:
    """Let the next ingest read every landing file again; what is stored already is not stored twice.

    Raises:
        StoreError: When a file that filled a lost table is no longer in the landing folder as it was delivered.
    """
    names = {table.name for table in lost}
    if names <= {"data_quality_result"}:
        return
    if lakehouse.data_version("landing_file") is None:
        _log.warning("the table of landing files is gone too: only files that are there now can be read again")
        return
    missing = _missing(landing_of(lakehouse), _delivered(lakehouse, names))
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise StoreError(
            f"{', '.join(str(table) for table in lost)}: the landing files that filled them are no longer there as "
            f"delivered ({', '.join(missing[:_NAMED])}{more}), so they cannot be made whole again. Restore "
            f"{', '.join(lakehouse.table_source(name) for name in sorted(names))} from a backup, or those files; or "
            "choose a new OUT, which is made from the files that are there."
        )
    keys = lakehouse.read("landing_file")
    nothing = keys.limit(0).select(*CONTRACTS["landing_file"].input_schema.names)
    lakehouse.merge("landing_file", nothing, delete_keys=keys)


def _delivered(lakehouse: Lakehouse, names: set[str]) -> list[tuple[str, str]]:
    """Path and hash of every delivery whose records went to one of some tables."""
    kinds: set[str] = set()
    for name in names:
        of_table = _KINDS.get(name, (name,))
        kinds |= set(of_table if of_table is not None else CONTRACTS)
    rows = lakehouse.read("landing_file").select("path", "sha256", "record_kind").distinct().collect()
    return sorted({(row["path"], row["sha256"]) for row in rows if row["record_kind"] in kinds})


def _missing(landing: LandingFolder, delivered: Sequence[tuple[str, str]]) -> list[str]:
    """Paths that hold another content now, or none; one that had several held others before."""
    now: dict[str, str | None] = {}
    # A table is known by its newest commit.
    commits = {file.path: commit_path(file) for file in landing.files() if file.table_version is not None}
    for path, _ in delivered:
        if path not in now:
            now[path] = _sha256(landing, commits.get(path, path))
    return sorted({path for path, sha256 in delivered if now[path] != sha256})


def _sha256(landing: LandingFolder, path: str) -> str | None:
    try:
        with landing.open(path) as stream:
            digest = hashlib.sha256()
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
            return digest.hexdigest()
    except OSError:
        return None
