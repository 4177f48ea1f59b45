from __future__ import annotations

import pytest

from mmrec_lib.errors import DataQualityError
from mmrec_lib.ingest.books import Books, Example, keep_books, require_quality
from mmrec_lib.ingest.config import IngestConfig
from mmrec_lib.lakehouse.landing import Delivery, FileProblem, FoundFile

CONFIG = IngestConfig()


def books_of(kind: str, stored: int, **refused: int) -> Books:
    books = Books()
    books.add("f", kind, "stored", reason=None, count=stored, example=Example("a\n.csv", 1, ""))
    for reason, count in refused.items():
        example = Example("a\n.csv", 7, "broken")
        books.add("f", kind, "quarantined", reason=reason, count=count, example=example)
    return books


def test_a_file_that_loses_more_than_its_share_fails_however_small_it_is() -> None:
    with pytest.raises(DataQualityError, match=r"a\\n.csv: 2 of 5 records \(40.0%\) .* first in line 7: broken"):
        require_quality(books_of("event", 3, not_json=2), CONFIG)


@pytest.mark.parametrize("reason", ["unknown_item", "wrong_type", "missing_key"])
def test_records_that_are_understood_and_refused_are_not_lost(reason: str) -> None:
    books = books_of("event", 3, **{reason: 2})
    require_quality(books, CONFIG)
    assert books.not_read_whole() == ""


def test_a_file_within_its_share_is_named_and_passes() -> None:
    books = books_of("event", 9, not_json=1)
    require_quality(books, CONFIG)
    assert books.not_read_whole() == "; not read whole: a\\n.csv (1 of 10 lost; first in line 7: broken)"
    assert [(c.check_name, c.value, c.passed) for c in books.checks(CONFIG)] == [
        ("quarantine_share", 0.1, True),
        ("worst_file_lost_share", 0.1, True),
    ]


def test_vectors_are_extras_that_fail_no_run() -> None:
    books = books_of("provided_vector", 1, unreadable_record=9)
    require_quality(books, CONFIG)
    assert "9 of 10 lost" in books.not_read_whole()


@pytest.mark.parametrize(("is_lost", "fails"), [(True, True), (False, False)])
def test_a_file_of_which_nothing_can_be_read_counts_by_its_records(is_lost: bool, fails: bool) -> None:
    problem = FileProblem("unreadable_file", "x.parquet: damaged", b"", is_lost=is_lost, num_records=300)
    books = keep_books({}, [Delivery(FoundFile("x.parquet", 1, 1), "event", "f", "s", (), problem)])
    assert "x.parquet" in books.not_read_whole()
    assert books.counts() == {
        "file.read": 1,
        "file.stored": 0,
        "file.superseded": 0,
        "file.duplicates": 0,
        "file.quarantined": 1,
    }
    if fails:
        with pytest.raises(DataQualityError, match="300 of 300"):
            require_quality(books, CONFIG)
    else:
        require_quality(books, CONFIG)
