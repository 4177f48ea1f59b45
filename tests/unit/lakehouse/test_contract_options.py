from __future__ import annotations

from pyspark.sql.types import AtomicType, MapType

from mmrec_lib.contracts import CONTRACTS


def test_options_of_columns_and_statistics_fit_their_columns() -> None:
    for contract in CONTRACTS.values():
        types = {column.name: column.type for column in contract.all_columns}
        assert all(isinstance(column.type, MapType) for column in contract.columns if column.in_order), contract.name
        assert set(contract.stats_columns) <= set(types) - set(contract.partition_by), contract.name
        assert all(isinstance(types[name], AtomicType) for name in contract.stats_columns), contract.name
