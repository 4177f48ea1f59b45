"""Views of a catalogue that show the current slice of each published table."""

from __future__ import annotations

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.lakehouse.ddl import quoted
from mmrec_lib.lakehouse.tables import Lakehouse

SUFFIX = "_current"


def view_statement(name: str, view: str, table: str, slices_in: str) -> str:
    """CREATE VIEW of the rows of a published table that readers should take.

    Args:
        name: Published table.
        view: SQL identifier of the view.
        table: SQL identifier of the table.
        slices_in: SQL identifier of the table that names its slice.
    """
    contract = CONTRACTS[name]
    (column,) = contract.partition_by
    columns = ", ".join(f"`{one}`" for one in contract.content_columns)
    return (
        f"CREATE OR REPLACE VIEW {view}\nCOMMENT {quoted(f'The current slice of {name}.')}\n"
        f"AS SELECT {columns} FROM {table}\n"
        f"WHERE `{column}` = (SELECT `{column}` FROM {slices_in} WHERE table_name = {quoted(name)})"
    )


def ensure_current_views(lakehouse: Lakehouse, names: tuple[str, ...]) -> list[str]:
    """Make the view `<name>_current` of each published table that exists, in catalogue mode; path mode has no views.

    A view that has the columns of the contract stays as it is.

    Args:
        lakehouse: Tables.
        names: Published tables.

    Returns:
        The views that were made or made anew.
    """
    store, spark = lakehouse.store, lakehouse.spark
    if not store.catalog:
        return []
    made = []
    for name in names:
        plain = f"`{store.catalog}`.`{store.schema_name}`.`{name}{SUFFIX}`"
        slices_in = CONTRACTS[name].slices_in
        if not lakehouse.exists(name) or not lakehouse.exists(slices_in):
            continue
        is_there = spark.catalog.tableExists(plain)
        if not is_there or spark.table(plain).columns != CONTRACTS[name].content_columns:
            spark.sql(view_statement(name, plain, lakehouse.table(name), lakehouse.table(slices_in)))
            made.append(f"{name}{SUFFIX}")
    return made
