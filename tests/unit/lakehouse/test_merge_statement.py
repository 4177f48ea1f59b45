from __future__ import annotations

from datetime import date

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.lakehouse.merging import merge_statement

WHERE = {"as_of_date": date(2025, 10, 1)}


def test_a_merge_that_inserts_nothing_does_not_look_for_rows_without_a_match() -> None:
    with_rows, without = (
        merge_statement(CONTRACTS["user_topk"], "t1", "v1", WHERE, inserts=inserts) for inserts in (True, False)
    )
    assert "WHEN NOT MATCHED AND s._mmrec_op <> 'delete' THEN INSERT (" in with_rows
    assert with_rows.startswith(without) and "NOT MATCHED" not in without
    for statement in (with_rows, without):
        assert "t.`user_id` = s.`user_id` AND t.`rank` = s.`rank` AND t.`as_of_date` = '2025-10-01'" in statement
        assert "WHEN MATCHED AND s._mmrec_op = 'delete' THEN DELETE\nWHEN MATCHED THEN UPDATE SET" in statement
