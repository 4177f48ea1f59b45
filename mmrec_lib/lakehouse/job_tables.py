"""The tables of a store as one job sees them: those that it declares, and no others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime

from pyspark.sql import DataFrame

from mmrec_lib.errors import ContractError
from mmrec_lib.lakehouse.checksum import ListedTable
from mmrec_lib.lakehouse.merging import Staged, StoredKeys, WriteResult
from mmrec_lib.lakehouse.tables import Lakehouse


class JobTables(Lakehouse):
    """A view of a store that reads and writes what a job declares; anything else raises.

    It shares all that the store knows of the run: a table that was written through the view is read as written.
    """

    def __init__(
        self, store: Lakehouse, job: str, *, reads: Iterable[str], writes: Iterable[str], maintains: Iterable[str] = ()
    ) -> None:
        """Bound what a job may do.

        Args:
            store: The whole store.
            job: The job's name, for messages.
            reads: Tables that it may read.
            writes: Tables that it may write, and read.
            maintains: Tables that it may read, compact and relieve of expired rows.
        """
        # The state is shared, not copied: what one of them learns of versions and tables, the other must know.
        self.__dict__.update(store.__dict__)
        self._job = job
        self._writes = frozenset(writes)
        self._maintains = frozenset(maintains)
        self._reads = frozenset(reads) | self._writes | self._maintains

    def table(self, name: str) -> str:
        """See `Lakehouse.table`."""
        self._require(name, self._reads, "reads")
        return super().table(name)

    def location(self, name: str) -> str | None:
        """See `Lakehouse.location`."""
        self._require(name, self._reads, "reads")
        return super().location(name)

    def listed(self, name: str) -> ListedTable | None:
        """See `Lakehouse.listed`."""
        self._require(name, self._reads, "reads")
        return super().listed(name)

    def exists(self, name: str) -> bool:
        """See `Lakehouse.exists`."""
        self._require(name, self._reads, "reads")
        return super().exists(name)

    def read(self, name: str, version: int | None = None) -> DataFrame:
        """See `Lakehouse.read`."""
        self._require(name, self._reads, "reads")
        return super().read(name, version)

    def data_version(self, name: str) -> int | None:
        """See `Lakehouse.data_version`."""
        self._require(name, self._reads, "reads")
        return super().data_version(name)

    def ensure(self, name: str) -> None:
        """See `Lakehouse.ensure`."""
        self._require(name, self._writes, "writes")
        super().ensure(name)

    def merge(self, name: str, rows: DataFrame | Staged, *, delete_keys: DataFrame | None = None) -> WriteResult:
        """See `Lakehouse.merge`."""
        self._require(name, self._writes, "writes")
        return super().merge(name, rows, delete_keys=delete_keys)

    def replace_keys(self, name: str, rows: Staged, stored: StoredKeys) -> WriteResult:
        """See `Lakehouse.replace_keys`."""
        self._require(name, self._writes, "writes")
        return super().replace_keys(name, rows, stored)

    def append(self, name: str, rows: DataFrame) -> None:
        """See `Lakehouse.append`."""
        self._require(name, self._writes, "writes")
        super().append(name, rows)

    def replace_slice(self, name: str, rows: DataFrame | Staged, where: Mapping[str, str | date]) -> WriteResult:
        """See `Lakehouse.replace_slice`."""
        self._require(name, self._writes, "writes")
        return super().replace_slice(name, rows, where)

    def maintain(self, name: str, retain_hours: int, expired_before: datetime | None) -> dict[str, int]:
        """See `Lakehouse.maintain`."""
        self._require(name, self._maintains, "maintains")
        return super().maintain(name, retain_hours, expired_before)

    def require_writable(self, name: str) -> None:
        """See `Lakehouse.require_writable`."""
        self._require(name, self._writes, "writes")

    def _require(self, name: str, declared: frozenset[str], what: str) -> None:
        if name not in declared:
            known = ", ".join(sorted(declared)) or "none"
            raise ContractError(
                f"Job {self._job}: it {what} only the tables that it declares ({known}), and asked for {name}. "
                f"Declare it in JOB.{what}; a table that a later job of the graph writes is declared in JOB.feedback."
            )
