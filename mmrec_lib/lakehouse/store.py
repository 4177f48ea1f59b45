"""The store's identity card and its lock, for path mode."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from mmrec_lib import __version__
from mmrec_lib.errors import StoreError
from mmrec_lib.files import write_text_atomic
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.location import is_uri

FORMAT_VERSION = 1
CARD = "store.json"
LOCK = "store.lock"


def check_store(store: StoreConfig) -> dict[str, Any] | None:
    """The store's card, or None for a store that does not exist yet; writes nothing.

    Raises:
        StoreError: When OUT is not a folder, not writable, of another format version, or made from other data.
    """
    if store.out is None and store.catalog is None:
        raise StoreError("OUT is not set: name an output folder (store.out), or store.catalog and store.schema_name.")
    out = _local_out(store)
    if out is None:
        return None
    if out.exists() and not out.is_dir():
        raise StoreError(f"OUT {out} is a file, but must be a folder. Choose another OUT.")
    existing = next(folder for folder in (out, *out.parents) if folder.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        raise StoreError(f"OUT {out} cannot be written ({existing} is read-only for this user). Choose another OUT.")
    card_path = out / CARD
    if not card_path.exists():
        # A run that ended while it wrote the card left a part of it.
        names = [p.name for p in out.iterdir()] if out.exists() else []
        foreign = [name for name in names if name != LOCK and not name.startswith(f".{CARD}-")]
        if foreign:
            raise StoreError(
                f"OUT {out} is not empty and holds no {CARD} ({foreign[0]} is there). Choose an empty folder."
            )
        return None
    try:
        card: dict[str, Any] = json.loads(card_path.read_text(encoding="utf-8"))
        version, data = card["format_version"], card["data"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{card_path} is not a store's card ({error}). Choose another OUT.") from error
    if version != FORMAT_VERSION:
        raise StoreError(
            f"OUT {out} has store format {version}, made by mmrec {card.get('library_version', '?')}; this mmrec "
            f"{__version__} reads and writes format {FORMAT_VERSION}. Choose a new OUT."
        )
    if store.data is not None and store.data not in (data, _moved_data(card, out)):
        raise StoreError(
            f"OUT {out} was made from DATA {data}, not from {store.data}. Choose another OUT for other data."
        )
    return card


def create_card(store: StoreConfig) -> None:
    """Write store.json if it is not there; the folder exists and is locked."""
    out = _local_out(store)
    if out is None or (out / CARD).exists():
        return
    card: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "data": store.data,
        "data_from_out": None if store.data is None else _data_from_out(store.data, out),
        "library_version": __version__,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "store_id": uuid.uuid4().hex,
        "tables": [],
    }
    _write_card(out, card)


def note_tables(store: StoreConfig, names: Iterable[str]) -> None:
    """Keep in store.json that tables have rows, so that their loss is seen even when the run ledger is lost too."""
    out = _local_out(store)
    card = _read_card(store)
    if out is None or card is None:
        return
    tables = sorted({*card.get("tables", []), *names})
    if tables != card.get("tables"):
        _write_card(out, {**card, "tables": tables})


def noted_tables(store: StoreConfig) -> tuple[str, ...]:
    """Tables that had rows at some time, as store.json knows; none without a card."""
    return tuple((_read_card(store) or {}).get("tables", ()))


def store_id(store: StoreConfig) -> str:
    """Name of a store among all that may share a staging folder; a copy of a store has another one."""
    card = _read_card(store) or {}
    parts = [card.get("store_id") or card.get("created_at"), store.out, store.catalog, store.schema_name]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _read_card(store: StoreConfig) -> dict[str, Any] | None:
    out = _local_out(store)
    try:
        card = json.loads((out / CARD).read_text(encoding="utf-8")) if out is not None else None
    except (OSError, ValueError):
        return None
    return card if isinstance(card, dict) else None


def _write_card(out: Path, card: dict[str, Any]) -> None:
    write_text_atomic(out / CARD, json.dumps(card, indent=2) + "\n")


def has_lock(store: StoreConfig) -> bool:
    """Tell if a store has a lock: in path mode on a local path."""
    return _local_out(store) is not None


def _data_from_out(data: str, out: Path) -> str | None:
    """The way from OUT to a local landing folder: it stays the same when both are moved together."""
    return None if is_uri(data) else os.path.relpath(data, out)


def _moved_data(card: dict[str, Any], out: Path) -> str | None:
    """Place of DATA when it was moved or copied together with OUT."""
    way = card.get("data_from_out")
    return os.path.normpath(out / way) if isinstance(way, str) else None


@contextmanager
def locked(store: StoreConfig) -> Iterator[None]:
    """Hold the store for this process; the operating system lets go when the process ends, however it ends.

    Raises:
        StoreError: When another process holds the store; the message names it.
    """
    out = _local_out(store)
    if out is None:
        yield
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"OUT {out} cannot be written ({error.strerror}). Choose another OUT.") from error
    with _open_lock(out / LOCK) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise StoreError(
                f"OUT {out} is in use by process {holder}. Wait until it ends, or choose another OUT."
            ) from error
        except OSError as error:
            raise StoreError(
                f"OUT {out} cannot be locked ({error.strerror}): its file system has no locks, so two runs could write "
                "at once. Choose an OUT on another one."
            ) from error
        lock.seek(0)
        lock.truncate()
        lock.write(f"{os.getpid()} on {os.uname().nodename}\n")
        lock.flush()
        yield


def _open_lock(path: Path) -> TextIO:
    """Open the lock file for reading and writing, made if it is missing.

    Raises:
        StoreError: When it cannot be written, or is not a plain file of its own: what a link leads to, or a file that
            has another name too, would be overwritten.
    """
    # Without O_NONBLOCK a pipe of that name would wait for a reader.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR):
            raise _no_lock(path) from error
        raise StoreError(f"OUT {path.parent} cannot be written ({error.strerror}). Choose another OUT.") from error
    state = os.fstat(handle)
    if not stat.S_ISREG(state.st_mode) or state.st_nlink > 1:
        os.close(handle)
        raise _no_lock(path)
    return os.fdopen(handle, "r+", encoding="utf-8")


def _no_lock(path: Path) -> StoreError:
    return StoreError(
        f"{path} is not a plain file, but a link or something else that mmrec did not make and will not write to. "
        "Look who put it there, remove it, and run again."
    )


def _local_out(store: StoreConfig) -> Path | None:
    if store.out is None or is_uri(store.out):
        return None
    return Path(store.out)
