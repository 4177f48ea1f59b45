"""Errors of Java, Spark, SQLite and the system as one sentence: what happened, where, and what to do."""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mmrec_lib.errors import InterruptedRunError, MachineError, MmrecError, ModelError, StoreError, UnexpectedError
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.location import is_uri
from mmrec_lib.safe_text import mask_secrets

_AGAIN = "run it again: it goes on from where it stopped"
_MAX_CHARS = 400
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_TEXT = re.compile(
    r"No space left on device|Disk quota exceeded|database or disk is full|not enough space|File too large"
    r"|No usable temporary directory found",
    re.I,
)
_JAVA_GONE = re.compile(
    r"Answer from Java side is empty|Error while (?:sending|receiving)|An error occurred while trying to connect to "
    r"the Java server|JAVA_GATEWAY_EXITED|SparkContext (?:was|has been) (?:shut ?down|stopped|cancelled)"
    r"|stopped SparkContext|does not exist in the JVM|StatusCode\.UNAVAILABLE",
    re.I,
)
_JAVA_MEMORY = re.compile(r"java\.lang\.OutOfMemoryError|Java heap space|GC overhead limit exceeded")
_WORKER_GONE = re.compile(r"Python worker exited unexpectedly|Python worker failed to connect back|ExecutorLostFailure")
_MEMORY = re.compile(
    r"\bMemoryError\b|Unable to allocate|ArrowMemoryError|Cannot allocate memory|malloc of size .* failed"
)
_REGISTRY = re.compile(
    r"file is not a database|database disk image is malformed|no such table|unable to open database file"
    r"|Can't locate revision identified by|attempt to write a readonly database|disk I/O error"
)
_REGISTRY_BUSY = re.compile(r"database is locked")
_TABLE_DAMAGED = re.compile(
    r"DELTA_(?:TRUNCATED_TRANSACTION_LOG|LOG_FILE_NOT_FOUND|STATE_RECOVER_ERROR|MISSING_TRANSACTION_LOG|TABLE_NOT_FOUND"
    r"|VERSIONS_NOT_CONTIGUOUS|PATH_DOES_NOT_EXIST|FILE_NOT_FOUND|CHECKPOINT|INVALID_FORMAT|LOG_ALREADY_EXISTS"
    r"|SCHEMA_NOT_SET|MISSING_PART_FILES|VERSION_INVALID|CANNOT_RECONSTRUCT)|versions are not contiguous"
    r"|ChecksumException|FAILED_READ_FILE"
    r"|CANNOT_READ_FILE_FOOTER|is not a Parquet file|Could not read footer|FileNotFoundException"
    r"|PATH_NOT_FOUND|Parquet magic bytes not found",
    re.I,
)
_DENIED = re.compile(r"Permission denied|AccessDeniedException|AccessControlException", re.I)
_PATH = re.compile(r"(?:file:/*)?(/[^\s'\"`,;:()\[\]]+)")


def explain(error: BaseException, store: StoreConfig | None = None) -> MmrecError:
    """The error that a person is told in place of this one.

    Args:
        error: Whatever a job, Spark or MLflow raised.
        store: Says which places of a message are tables.

    Returns:
        The error itself where it is a sentence already, unless a full disk led to it.
    """
    if isinstance(error, MmrecError):
        return _disk_full_below(error, store) or error
    chain = list(_chain(error))
    said = next((e for e in chain if isinstance(e, MmrecError)), None)
    text = "\n".join(_text(e) for e in chain)
    for rule in (
        _interrupted,
        _disk_full,
        _out_of_memory,
        _java_gone,
        _worker_gone,
        _registry,
        _denied,
        _damaged_table,
    ):
        explained = rule(chain, text, store)
        if explained is not None:
            return explained
    if said is not None:
        return said
    if (of_mlflow := next((e for e in chain if _package(e) == "mlflow"), None)) is not None:
        return ModelError(
            f"MLflow refused or did not answer: {_first_line(_text(of_mlflow))}. Look whether it runs "
            f"(tracking.tracking_uri) and what this user may do there, and {_AGAIN}."
        )
    return UnexpectedError(
        f"an error that mmrec did not foresee: {type(error).__name__}: {_first_line(_text(error))}. Run with "
        "--log-level debug to see where; the store is as its last whole commits left it."
    )


def _interrupted(chain: list[BaseException], text: str, store: StoreConfig | None) -> MmrecError | None:
    if any(isinstance(e, KeyboardInterrupt | Terminated) for e in chain[:1]):
        return InterruptedRunError(f"the run was told to end; {_AGAIN}.")
    return None


def _disk_full(chain: list[BaseException], text: str, store: StoreConfig | None) -> MmrecError | None:
    if not any(isinstance(e, OSError) and e.errno in _FULL for e in chain) and not _FULL_TEXT.search(text):
        return None
    places = _places(store)
    free = ", ".join(f"{place}: {_megabytes(space)} free" for place, space in places.items())
    return MachineError(
        f"a disk is full, or a file grew beyond what this user may write ({free or 'no folder tells'}). Free space "
        f"there, or set store.out, store.staging or TMPDIR to a larger disk; then {_AGAIN}."
    )


def _disk_full_below(error: MmrecError, store: StoreConfig | None) -> MmrecError | None:
    """The sentence about a full disk where one led to an error that says something else, such as a file that is gone.

    Only what the error names as its cause counts, not its own words: they may cite anything.
    """
    if isinstance(error, MachineError | InterruptedRunError):
        return None
    causes, cause = list[BaseException](), error.__cause__
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = getattr(cause, "orig", None) or cause.__cause__
    foreign = [cause for cause in causes if not isinstance(cause, MmrecError)]
    return _disk_full(foreign, "\n".join(map(_text, foreign)), store)


def _out_of_memory(chain: list[BaseException], text: str, store: StoreConfig | None) -> MmrecError | None:
    if _JAVA_MEMORY.search(text):
        return MachineError(
            f"Java: Spark ran out of memory. Give it more (--set spark.driver_memory=6g, on a cluster larger nodes) "
            f"and {_AGAIN}."
        )
    if any(isinstance(e, MemoryError) for e in chain) or _MEMORY.search(text):
        return MachineError(
            "memory: Python had not enough. Use a machine with more of it, or fewer workers at once (--set "
            f"'spark.master=local[1,4]'), and {_AGAIN}."
        )
    return None


def _java_gone(chain: list[BaseException], text: str, store: StoreConfig | None) -> MmrecError | None:
    is_gone = any(_is_py4j_network(e) for e in chain) or _JAVA_GONE.search(text)
    if not is_gone:
        return None
    return MachineError(
        "Java: Spark's process ended while it was needed. It was killed, often because the machine had no memory left, "
        f"or could not start. Look at the machine's memory (spark.driver_memory is what Java may take) and {_AGAIN}."
    )


def _worker_gone(chain: list[BaseException], text: str, store: StoreConfig | None) -> MmrecError | None:
    if not _WORKER_GONE.search(text):
        return None
    return MachineError(
        "a Python worker ended while it was needed: it was killed, often because the machine had no memory left, or a "
        "library crashed. Look at the machine's memory, use fewer workers at once (--set 'spark.master=local[1,4]') "
        f"and {_AGAIN}."
    )


def _registry(chain: list[BaseException], text: str, store: StoreConfig | None) -> MmrecError | None:
    if not any(_package(e) in ("sqlite3", "sqlalchemy", "mlflow", "alembic") for e in chain):
        return None
    where = f"{store.out}/mlflow.db" if store is not None and store.out else "of tracking.tracking_uri"
    if _REGISTRY_BUSY.search(text):
        return StoreError(f"MLflow's database {where} is in use by another process. Wait until it ends and {_AGAIN}.")
    found = _REGISTRY.search(text)
    if found is None:
        return None
    return StoreError(
        f"MLflow's database {where} cannot be used ({found[0]}). Restore it from a backup; or move it away and run "
        "again: the ranker is trained and registered anew, only runs of earlier models are lost."
    )


def _damaged_table(chain: list[BaseException], text: str, store: StoreConfig | None) -> MmrecError | None:
    found = _TABLE_DAMAGED.search(text)
    if found is None or not any(_is_of_spark(e) for e in chain):
        return None
    table = _table_in(text, store)
    if table is None:
        path = _PATH.search(text[found.start() :]) or _PATH.search(text)
        where = f"the file {path[1]}" if path else "a file of the store or the landing folder"
        return StoreError(
            f"{where} is gone or damaged ({found[0]}). If it was a temporary file, or was changed while it was read, "
            f"{_AGAIN}; else restore it from a backup."
        )
    name, folder = table
    return StoreError(
        f"Table {name}: a file of {folder} is missing or damaged ({found[0]}). Restore that folder from a backup; or "
        "move it away and run again: it is made anew from the landing files and tables that are there."
    )


def _denied(chain: list[BaseException], text: str, store: StoreConfig | None) -> MmrecError | None:
    denied = next((e for e in chain if isinstance(e, PermissionError)), None)
    if denied is None and not (_DENIED.search(text) and any(_is_of_spark(e) for e in chain)):
        return None
    line = next((line for line in text.splitlines() if _DENIED.search(line)), "")
    found = _PATH.search(line)
    where = (denied.filename if denied is not None else None) or (found[1] if found else "a file or folder")
    return MachineError(f"{where}: permission denied. Give this user access to it, and {_AGAIN}.")


class Terminated(BaseException):
    """Raised in the main thread when the process is asked to end (SIGTERM)."""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that led to it, once each."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [
            e for e in (current.__cause__, current.__context__, getattr(current, "orig", None)) if e is not None
        ]


def _text(error: BaseException) -> str:
    """Message of an error; one of Java asks Java, which may be gone."""
    try:
        return f"{error}" or type(error).__name__
    except Exception:
        return type(error).__name__


def _is_py4j_network(error: BaseException) -> bool:
    name = type(error).__name__
    if name in ("Py4JNetworkError", "Py4JJavaConnectionError"):
        return True
    # py4j lets errors of its socket through as they are.
    return isinstance(error, ConnectionError | EOFError) and _raised_in(error, "py4j")


def _raised_in(error: BaseException, package: str) -> bool:
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").split(".")[0] == package:
            return True
        trace = trace.tb_next
    return False


def _is_of_spark(error: BaseException) -> bool:
    return _package(error) in ("py4j", "pyspark", "pyarrow") or isinstance(error, OSError)


def _package(error: BaseException) -> str:
    """Top package of an error's class."""
    return type(error).__module__.split(".")[0]


def _table_in(text: str, store: StoreConfig | None) -> tuple[str, str] | None:
    if store is None or not store.out:
        named = re.search(r"\[DELTA_[A-Z_]+\][^`\n]*`?([\w.`]+)`?", text)
        return None if store is None or store.out or named is None else (named[1].replace("`", ""), "the catalogue")
    root = f"{store.out}/tables"
    found = re.search(rf"{re.escape(root)}/(\w+)", text)
    return (found[1], f"{root}/{found[1]}") if found else None


def _places(store: StoreConfig | None) -> dict[str, int]:
    """Existing local folders that a run writes to, with their free bytes; without those that do not tell."""
    wanted = [place for place in (store.out, store.staging) if place and not is_uri(place)] if store is not None else []
    # Where every folder for temporary files is full, Python finds none.
    with contextlib.suppress(OSError):
        wanted.append(tempfile.gettempdir())
    found = {}
    for place in wanted:
        with contextlib.suppress(OSError):
            folder = str(next(p for p in (Path(place), *Path(place).parents) if p.is_dir()))
            found[folder] = shutil.disk_usage(folder).free
    return found


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size < 10e9 else f"{size / 1e9:,.0f} GB"


def _first_line(text: str) -> str:
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    # Masked before it is cut: half a secret is not known as one.
    return mask_secrets(line)[:_MAX_CHARS].rstrip(".")
