"""Places of a store's tables: folders (path mode) or a schema of a catalogue; decided when the store is opened."""

from __future__ import annotations

from abc import ABC, abstractmethod

from pyspark.sql import DataFrame, DataFrameWriter, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from mmrec_lib.lakehouse.checksum import ListedTable, listed_table, read_listed
from mmrec_lib.lakehouse.commits import changes_rows, newest_data_commit
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.lakehouse.creation import has_commits


class TableLocation(ABC):
    """Place of the tables of one store.

    Attributes:
        spark: Session.
        root: Folder or schema, for people.
    """

    def __init__(self, spark: SparkSession, root: str) -> None:
        """Keep session and root."""
        self.spark = spark
        self.root = root

    @abstractmethod
    def source(self, name: str) -> str:
        """A table's folder or name, for lineage."""

    @abstractmethod
    def folder(self, name: str) -> str | None:
        """Folder of a table; None where a catalogue decides."""

    @abstractmethod
    def identifier(self, name: str) -> str:
        """SQL identifier of a table."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Tell if the table has been made."""

    def listed(self, name: str) -> ListedTable | None:
        """Files of a table where its checksum lists them; see `listed_table`."""
        folder = self.folder(name)
        return None if folder is None else listed_table(folder)

    def read(self, name: str) -> DataFrame:
        """The current rows of a table that exists, without asking Delta where its checksum tells."""
        folder, listed = self.folder(name), self.listed(name)
        return self.load(name) if folder is None or listed is None else read_listed(self.spark, folder, listed)

    def schema(self, name: str) -> StructType:
        """Columns of a table that exists, as they are stored."""
        listed = self.listed(name)
        return self.load(name).schema if listed is None else listed.schema

    @abstractmethod
    def load(self, name: str) -> DataFrame:
        """A table that exists, as Delta gives it."""

    @abstractmethod
    def save(self, writer: DataFrameWriter, name: str) -> None:
        """Write into the table."""

    @abstractmethod
    def newest_change(self, name: str) -> int | None:
        """Version of the last commit that changed rows of a table that exists; None when none did."""


class FolderTables(TableLocation):
    """Tables of path mode: `<out>/tables/<name>`."""

    def source(self, name: str) -> str:
        """See `TableLocation.source`."""
        return f"{self.root}/{name}"

    def folder(self, name: str) -> str:
        """See `TableLocation.folder`."""
        return self.source(name)

    def identifier(self, name: str) -> str:
        """See `TableLocation.identifier`."""
        return "delta.`{}`".format(self.source(name).replace("`", "``"))

    def exists(self, name: str) -> bool:
        """See `TableLocation.exists`."""
        return has_commits(self.source(name))

    def load(self, name: str) -> DataFrame:
        """See `TableLocation.load`."""
        return self.spark.read.format("delta").load(self.source(name))

    def save(self, writer: DataFrameWriter, name: str) -> None:
        """See `TableLocation.save`."""
        writer.save(self.source(name))

    def newest_change(self, name: str) -> int | None:
        """See `TableLocation.newest_change`; read from the log's files."""
        newest = newest_data_commit(f"{self.source(name)}/_delta_log")
        return newest if newest >= 0 else None


class CatalogueTables(TableLocation):
    """Tables of catalogue mode: `<catalog>.<schema>.<name>`."""

    def __init__(self, spark: SparkSession, catalog: str, schema_name: str) -> None:
        """Keep both names apart: each is quoted alone."""
        super().__init__(spark, f"{catalog}.{schema_name}")
        self._quoted = f"`{catalog}`.`{schema_name}`"

    def source(self, name: str) -> str:
        """See `TableLocation.source`."""
        return f"{self.root}.{name}"

    def folder(self, name: str) -> None:
        """See `TableLocation.folder`."""
        return

    def identifier(self, name: str) -> str:
        """See `TableLocation.identifier`."""
        return f"{self._quoted}.`{name}`"

    def exists(self, name: str) -> bool:
        """See `TableLocation.exists`."""
        return self.spark.catalog.tableExists(self.source(name))

    def load(self, name: str) -> DataFrame:
        """See `TableLocation.load`."""
        return self.spark.read.table(self.identifier(name))

    def save(self, writer: DataFrameWriter, name: str) -> None:
        """See `TableLocation.save`."""
        writer.saveAsTable(self.identifier(name))

    def newest_change(self, name: str) -> int | None:
        """See `TableLocation.newest_change`; asked of Delta, because the folder is the catalogue's."""
        history = self.spark.sql(f"DESCRIBE HISTORY {self.identifier(name)}")
        oldest = 0
        rows = history.select("version", "operation", "userMetadata").orderBy(F.col("version").desc())
        for row in rows.toLocalIterator():
            oldest = int(row["version"])
            if changes_rows(row["operation"], row["userMetadata"]):
                return oldest
        # Delta keeps a month of history: where it does not go back to the last change of rows, there is one before it.
        return oldest - 1 if oldest > 0 else None


def table_location(spark: SparkSession, store: StoreConfig) -> TableLocation:
    """Place of a store's tables."""
    if store.out:
        return FolderTables(spark, f"{store.out}/tables")
    return CatalogueTables(spark, str(store.catalog), str(store.schema_name))
