"""A landing folder: what is in it, opened safely."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.fs

from mmrec_lib.errors import LandingError
from mmrec_lib.ingest.landing.delivery import Delivery, FoundFile, FoundProblem, KnownFile, LandingPlan, Scan, Split
from mmrec_lib.ingest.landing.delta_log import commit_versions
from mmrec_lib.ingest.landing.names import (
    EXPECTED,
    is_hidden,
    kind_of,
    kind_of_table,
    normal_form,
    printable,
    root_of,
    spellings,
    table_roots,
)
from mmrec_lib.ingest.landing.plan import plan_deliveries
from mmrec_lib.ingest.landing.safe_open import is_inside, open_inside
from mmrec_lib.location import absolute, filesystem_of, is_uri

_FOREIGN = {
    "iceberg": "an Iceberg table is not read; deliver it as a Delta table or as Parquet files",
    "hudi": "a Hudi table is not read; deliver it as a Delta table or as Parquet files",
}


class LandingFolder:
    """A landing folder under a local path or a URI that pyarrow can open; picklable, so that workers can read it.

    Attributes:
        uri: Where it is.
    """

    def __init__(self, uri: str) -> None:
        """Bind to a folder.

        Raises:
            LandingError: When there is no such folder.
        """
        self.uri = uri
        try:
            self._fs, self._root = filesystem_of(absolute(uri, expand_home=True))
            kind = self._fs.get_file_info(self._root).type
        except (OSError, ValueError, NotImplementedError) as error:
            raise LandingError(f"DATA {uri}: a landing folder is needed, but it cannot be opened ({error}).") from error
        if kind != pyarrow.fs.FileType.Directory:
            what = "there is nothing" if kind == pyarrow.fs.FileType.NotFound else "that is a file"
            raise LandingError(f"DATA {uri}: a landing folder is needed, but {what}. Check the path.")

    def __reduce__(self) -> tuple[type[LandingFolder], tuple[str]]:
        """Travel as the URI: file systems do not always pickle."""
        return LandingFolder, (self.uri,)

    @property
    def is_local(self) -> bool:
        """Tell whether the folder is on this machine's file system."""
        return isinstance(self._fs, pyarrow.fs.LocalFileSystem)

    # what is there

    def scan(self) -> Scan:
        """All files and Delta tables but hidden ones, and every place that cannot be read.

        A folder with a `_delta_log` is one table and none of its files is taken alone. Folders of other table formats,
        folders that cannot be opened, pipes, devices, links that lead nowhere or out of the folder, and names that are
        no UTF-8 are problems.
        """
        found, problems, outside = self._local_entries() if self.is_local else self._remote_entries()
        roots = table_roots(file.path for file in found)
        files = {file.path: file for file in found if root_of(file.path, roots) is None and not is_hidden(file.path)}
        for root, form in roots.items():
            if is_hidden(root):
                continue
            inside = [file for file in found if file.path.startswith(f"{root}/")]
            if form in _FOREIGN:
                problems.append(FoundProblem(root, "unsupported_format", f"{root}: {_FOREIGN[form]}"))
            elif (table := _table(root, inside)) is None:
                problems.append(
                    FoundProblem(root, "unreadable_file", f"{root}: the log of this Delta table holds no commit")
                )
            else:
                files[root] = table
        taken = {path for path in files if path == normal_form(path)}
        named = [file if (n := normal_form(p)) in taken else replace(file, path=n) for p, file in files.items()]
        problems = [problem for problem in problems if not is_hidden(problem.path)]
        return Scan(
            sorted(named, key=lambda file: file.path), sorted(problems, key=lambda problem: problem.path), outside
        )

    def files(self) -> list[FoundFile]:
        """The files and tables of `scan`."""
        return self.scan().files

    def table_files(self, root: str) -> list[str]:
        """Paths of every file below a table's folder, hidden ones among them."""
        found, _, _ = self._local_entries(root) if self.is_local else self._remote_entries(root)
        return sorted(file.path for file in found)

    def _remote_entries(self, below: str = "") -> tuple[list[FoundFile], list[FoundProblem], list[str]]:
        root = self._root.rstrip("/")
        found = []
        for info in self._fs.get_file_info(pyarrow.fs.FileSelector(f"{root}/{below}".rstrip("/"), recursive=True)):
            if info.type == pyarrow.fs.FileType.File:
                modified_us = (info.mtime_ns or 0) // 1000
                found.append(FoundFile(info.path[len(root) :].lstrip("/"), info.size, modified_us))
        return found, [], []

    def _local_entries(self, below: str = "") -> tuple[list[FoundFile], list[FoundProblem], list[str]]:
        root = Path(self._root)
        found: list[FoundFile] = []
        problems: list[FoundProblem] = []
        outside: list[str] = []
        seen = set[str]()

        def report(path: str | Path, detail: str) -> None:
            name = printable(Path(path).relative_to(root).as_posix())
            problems.append(FoundProblem(name, "unreadable_file", f"{name}: {detail}"))

        def folder_failed(error: OSError) -> None:
            report(error.filename, f"this folder cannot be opened ({error.strerror}), so nothing in it was read")

        for folder, subfolders, names in os.walk(root / below, followlinks=True, onerror=folder_failed):
            real = os.path.realpath(folder)
            if real in seen:  # a link back to a folder above
                subfolders.clear()
                continue
            if not is_inside(self._root, folder):
                subfolders.clear()
                outside.append(Path(folder).relative_to(root).as_posix())
                report(folder, "this folder is a link out of the landing folder, so nothing in it was read")
                continue
            seen.add(real)
            for name in names:
                path = Path(folder, name)
                entry = _entry(path, path.relative_to(root).as_posix(), report)
                if entry is not None:
                    found.append(entry)
        return found, problems, outside

    def require_sources(self) -> None:
        """Check that there is something to read at all.

        Raises:
            LandingError: When the folder holds no known source.
        """
        scan = self.scan()
        if any(kind is not None for kind in map(kind_of_found, scan.files)):
            return
        refused = "".join(f" {problem.detail}." for problem in scan.problems[:5])
        raise LandingError(
            f"DATA {self.uri}: no known source is there. A landing folder holds files or folders named {EXPECTED} "
            f"(docs/landing.md describes the formats).{refused}"
        )

    def plan(self, files: Iterable[FoundFile], known: Iterable[KnownFile], split_bytes: int) -> LandingPlan:
        """New deliveries, hashed and split; see `plan_deliveries`."""
        return plan_deliveries(self, files, known, split_bytes)

    def deliveries(self, files: Iterable[FoundFile], known: Iterable[KnownFile], split_bytes: int) -> list[Delivery]:
        """The record files that the store has not read yet, hashed and split, sorted by path."""
        return self.plan(files, known, split_bytes).deliveries

    # its files

    def open(self, path: str) -> Any:
        """A file of the folder, opened for reading at any position.

        Raises:
            OutsideError: When a link leads out of the folder.
            OSError: When it cannot be read, or is no plain file.
        """
        for spelling in spellings(path):
            try:
                if self.is_local:
                    return open_inside(self._root, spelling)
                return self._fs.open_input_file(f"{self._root}/{spelling}")
            except FileNotFoundError:
                continue
        raise FileNotFoundError(f"there is no file {path}")

    def read_bytes(self, path: str, at_most: int = -1) -> bytes:
        """The bytes of a file of the folder, the first `at_most` of them unless that is negative.

        Raises:
            OSError: When it cannot be read.
        """
        with self.open(path) as stream:
            return bytes(stream.read(at_most) if at_most >= 0 else stream.read())

    def state_of(self, stream: Any, path: str) -> tuple[int, int]:
        """Size and modification time (microseconds since the epoch) of an open file as they are now."""
        if self.is_local:
            status = os.fstat(stream.fileno())
            return status.st_size, status.st_mtime_ns // 1000
        info = self._fs.get_file_info(f"{self._root}/{path}")
        return info.size, (info.mtime_ns or 0) // 1000

    def is_as_planned(self, stream: Any, split: Split) -> bool:
        """Tell whether an open file has the size and time that it had when it was hashed."""
        return split.bytes_len is None or self.state_of(stream, split.path) == (split.bytes_len, split.modified_us)

    def is_readable(self, path: str) -> bool:
        """Tell whether this process may read a file; always true on remote storage, which tells only on opening."""
        return not self.is_local or any(os.access(f"{self._root}/{spelling}", os.R_OK) for spelling in spellings(path))

    def holds(self, path: str) -> bool:
        """Tell whether a path leads to a place in the folder, links followed."""
        return not self.is_local or is_inside(self._root, f"{self._root}/{path}")

    def uri_of(self, path: str) -> str:
        """URI of a file of the folder, links below the folder followed, for readers of `media_asset.uri`."""
        if self.is_local:
            name = next((name for name in spellings(path) if Path(self._root, name).exists()), path)
            real_root = os.path.realpath(self._root)
            path = Path(os.path.realpath(f"{self._root}/{name}")).relative_to(real_root).as_posix()
            if not is_uri(self.uri):
                return f"{self._root.rstrip('/')}/{path}"
        return f"{self.uri.rstrip('/')}/{path}"


def kind_of_found(file: FoundFile) -> str | None:
    """Kind of the records in a file or table; None when it is no source."""
    return kind_of(file.path) if file.table_version is None else kind_of_table(file.path)


def _entry(path: Path, relative: str, report: Callable[[Path, str], None]) -> FoundFile | None:
    try:
        status = path.stat()
    except OSError as error:
        what = "this link leads nowhere" if path.is_symlink() else f"it cannot be looked at ({error.strerror})"
        report(path, what)
        return None
    try:
        relative.encode("utf-8")
    except UnicodeEncodeError:
        report(path, "its name is no UTF-8, so it was not read; rename it")
        return None
    if not stat.S_ISREG(status.st_mode):
        report(path, "a plain file is needed, but this is a pipe, a socket or a device")
        return None
    return FoundFile(relative, status.st_size, status.st_mtime_ns // 1000)


def _table(root: str, inside: list[FoundFile]) -> FoundFile | None:
    log = {file.path: file for file in inside if file.path.startswith(f"{root}/_delta_log/")}
    commits = commit_versions(list(log))
    if not commits:
        return None
    version = max(commits)
    newest = log[commits[version]]
    return FoundFile(root, newest.bytes_len, newest.modified_us, version)
