from __future__ import annotations

import math

import pyarrow as pa
import pytest

from mmrec_lib.ingest.config import LandingConfig
from mmrec_lib.ingest.landing import Split
from mmrec_lib.ingest.records.frames import arrow_schema, parsed_schema
from mmrec_lib.ingest.records.values import Rules
from mmrec_lib.ingest.records.vectors import parse_vectors

SPLIT = Split("vectors/audio-x.parquet", "f", "provided_vector", "parquet", 0, 1, 1, "audio", "x", 2)
SCHEMA = arrow_schema(parsed_schema("provided_vector"))
RULES = Rules.of(LandingConfig())


def parsed(table: dict[str, pa.Array]) -> list[dict[str, object]]:
    return parse_vectors(pa.RecordBatch.from_pydict(table), SPLIT, 11, SCHEMA, RULES).to_pylist()


@pytest.mark.parametrize(
    "list_type", [pa.list_(pa.float32()), pa.list_(pa.float64()), pa.large_list(pa.float64()), pa.list_(pa.int32(), 2)]
)
def test_vectors_of_every_list_type_become_float32(list_type: pa.DataType) -> None:
    rows = parsed({"item_id": pa.array([7, 8]), "vector": pa.array([[1, 2], [3, 4]], list_type)})
    assert [(r["item_id"], r["vector"], r["source_line"], r["_reason"]) for r in rows] == [
        ("7", [1.0, 2.0], 11, None),
        ("8", [3.0, 4.0], 12, None),
    ]
    assert (rows[0]["modality"], rows[0]["encoder_id"]) == ("audio", "x")


def test_each_bad_vector_is_refused_for_its_reason_and_the_good_ones_stay() -> None:
    vectors = [[1, 2], None, [], [1], [1, math.nan], [1, None], [1, 1e300], [5, 6]]
    ids = ["a", "b", "c", "d", "e", "f", "g", None]
    rows = parsed({"item_id": pa.array(ids), "vector": pa.array(vectors, pa.list_(pa.float64()))})
    assert [r["_reason"] for r in rows] == [
        None,
        "missing_field",
        "missing_field",
        "impossible_value",
        "not_finite",
        "not_finite",
        "not_finite",
        "missing_key",
    ]
    assert rows[0]["vector"] == [1.0, 2.0] and rows[3]["vector"] is None
    assert rows[3]["_raw"] == b'{"item_id":"d","vector":[1.0]}'


def test_a_file_without_vectors_is_refused_row_by_row() -> None:
    rows = parsed({"item_id": pa.array(["a"]), "vector": pa.array(["1,2"])})
    assert [r["_reason"] for r in rows] == ["wrong_type"]
    assert [r["_reason"] for r in parsed({"item_id": pa.array(["a"])})] == ["wrong_type"]


def test_ids_that_python_cannot_hold_are_refused_alone_and_keep_their_bytes() -> None:
    vectors = pa.array([[1, 2], [3, 4]], pa.list_(pa.float32()))
    rows = parsed({"item_id": pa.array([b"a", b"\xff"]).view(pa.string()), "vector": vectors})
    assert [r["_reason"] for r in rows] == [None, "invalid_utf8"]
    raw = rows[1]["_raw"]
    assert isinstance(raw, bytes)
    assert pa.ipc.open_stream(raw).read_all().column("item_id").cast(pa.binary()).to_pylist() == [b"\xff"]
    times = parsed({"item_id": pa.array([0, 1], pa.timestamp("ns")), "vector": vectors})
    assert [r["_reason"] for r in times] == ["wrong_type", "wrong_type"]
