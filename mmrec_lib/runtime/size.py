"""Size of a store before a session is made for it."""

from __future__ import annotations

import os
from pathlib import Path

from mmrec_lib.ingest.landing import MEDIA_FOLDERS
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.location import is_uri

SMALL_BYTES = 8 << 20
"""A store with fewer bytes of records, some ten thousand events, is worked on in a session for small tables.

Of MovieLens 100K (14 MB, 100,000 events) such a session took 74 s to ingest, another one 56 s.
"""

_ACTS = ("event", "review")
# Bytes of text that a byte of Parquet or gzip holds, about.
_PACKED = 6
_PACKED_SUFFIXES = (".parquet", ".gz")


def is_small_store(store: StoreConfig) -> bool:
    """Tell whether the records delivered to a store and its tables of events and reviews are few.

    A landing folder or OUT behind a URI is never taken for small: it is not looked through twice.
    """
    size = 0
    if store.data is not None:
        folder = Path(store.data)
        if is_uri(store.data) or not folder.is_dir():
            return False
        size = _text_bytes(folder, without=MEDIA_FOLDERS)
    if store.out is None or is_uri(store.out):
        return False
    # What was delivered is in the tables too; where the landing folder was cleaned, only there.
    return max(size, sum(_text_bytes(Path(store.out) / "tables" / name) for name in _ACTS)) < SMALL_BYTES


def _text_bytes(folder: Path, without: tuple[str, ...] = ()) -> int:
    """Bytes of the files below a folder, packed ones counted as their content; stops where these are many."""
    total = 0
    for place, folders, names in os.walk(folder):
        if Path(place) == folder:
            folders[:] = [name for name in folders if name not in without]
        for name in names:
            try:
                size = os.stat(os.path.join(place, name)).st_size  # noqa: PTH116, PTH118  (of thousands of files)
            except OSError:
                continue
            total += size * (_PACKED if name.endswith(_PACKED_SUFFIXES) else 1)
        if total >= SMALL_BYTES:
            break
    return total
