"""Stored columns against those of the contract, told without a session."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pyspark.sql.types import LongType, StringType, StructField, StructType

from mmrec_lib.contracts.bronze import GRAPH_EDGE
from mmrec_lib.lakehouse.evolution import is_current


def with_field(name: str, field: StructField) -> StructType:
    return StructType([field if one.name == name else one for one in GRAPH_EDGE.schema])


def test_the_columns_of_the_contract_are_current_in_any_order_and_with_others_beside_them() -> None:
    assert is_current(GRAPH_EDGE.schema, GRAPH_EDGE)
    others = [StructField("note", StringType()), *reversed(GRAPH_EDGE.schema.fields)]
    assert is_current(StructType(others), GRAPH_EDGE)


@pytest.mark.parametrize(
    "stored",
    [
        StructType([field for field in GRAPH_EDGE.schema if field.name != "tail"]),
        with_field("tail", StructField("tail", LongType(), nullable=False)),
        with_field("tail", StructField("tail", StringType(), nullable=True)),
    ],
    ids=["missing", "another type", "may be null"],
)
def test_a_column_that_is_missing_of_another_type_or_open_to_nulls_is_not(stored: StructType) -> None:
    assert not is_current(stored, GRAPH_EDGE)


def test_a_column_that_the_contract_gained_is_not_current() -> None:
    gained = replace(GRAPH_EDGE, columns=(*GRAPH_EDGE.columns, replace(GRAPH_EDGE.columns[-1], name="note")))
    assert not is_current(GRAPH_EDGE.schema, gained)
