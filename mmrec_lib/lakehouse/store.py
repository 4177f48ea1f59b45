"""The store's identity card and its lock, for path mode."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmrec_lib import __version__
from mmrec_lib.errors import StoreError
from mmrec_lib.lakehouse.config import StoreConfig

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
        foreign = [p.name for p in out.iterdir() if p.name != LOCK] if out.exists() else []
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
    card = {
        "format_version": FORMAT_VERSION,
        "data": store.data,
        "data_from_out": None if store.data is None else _data_from_out(store.data, out),
        "library_version": __version__,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    part = out / f".{CARD}.part"
    part.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    part.replace(out / CARD)


def _data_from_out(data: str, out: Path) -> str | None:
    """The way from OUT to a local landing folder: it stays the same when both are moved together."""
    return None if "://" in data else os.path.relpath(data, out)


def _moved_data(card: dict[str, Any], out: Path) -> str | None:
    """Where DATA is when it was moved or copied together with OUT."""
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
        (out / LOCK).touch()
    except OSError as error:
        raise StoreError(f"OUT {out} cannot be written ({error.strerror}). Choose another OUT.") from error
    with (out / LOCK).open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise StoreError(
                f"OUT {out} is in use by process {holder}. Wait until it ends, or choose another OUT."
            ) from error
        lock.seek(0)
        lock.truncate()
        lock.write(f"{os.getpid()} on {os.uname().nodename}\n")
        lock.flush()
        yield


def _local_out(store: StoreConfig) -> Path | None:
    if store.out is None or "://" in store.out:
        return None
    return Path(store.out)
