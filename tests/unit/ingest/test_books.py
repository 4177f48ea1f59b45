from __future__ import annotations

import pytest

from mmrec_lib.errors import DataQualityError
from mmrec_lib.ingest.config import IngestConfig
from mmrec_lib.ingest.landing import Delivery, FileProblem, FoundFile
from mmrec_lib.ingest.resolve.count_outcomes import count_outcomes
from mmrec_lib.ingest.resolve.reconciliation import Example, Reconciliation, require_quality

CONFIG = IngestConfig()


def books_of(kind: str, stored: int, **refused: int) -> Reconciliation:
    reconciliation = Reconciliation()
    reconciliation.add("f", kind, "stored", reason=None, count=stored, example=Example("a\n.csv", 1, ""))
    for reason, count in refused.items():
        example = Example("a\n.csv", 7, "broken")
        reconciliation.add("f", kind, "quarantined", reason=reason, count=count, example=example)
    return reconciliation


def test_a_file_that_loses_more_than_its_share_fails_however_small_it_is() -> None:
    with pytest.raises(DataQualityError, match=r"a\\n.csv: 2 of 5 records \(40.0%\) .* first in line 7: broken"):
        require_quality(books_of("event", 3, not_json=2), CONFIG)


@pytest.mark.parametrize("reason", ["unknown_item", "wrong_type", "missing_key"])
def test_records_that_are_understood_and_refused_are_not_lost(reason: str) -> None:
    reconciliation = books_of("event", 3, **{reason: 2})
    require_quality(reconciliation, CONFIG)
    assert reconciliation.not_read_whole() == ""


def test_a_file_within_its_share_is_named_and_passes() -> None:
    reconciliation = books_of("event", 9, not_json=1)
    require_quality(reconciliation, CONFIG)
    assert reconciliation.not_read_whole() == "; not read whole: a\\n.csv (1 of 10 lost; first in line 7: broken)"
    assert [(c.check_name, c.value, c.passed) for c in reconciliation.checks(CONFIG)] == [
        ("quarantine_share", 0.1, True),
        ("worst_file_lost_share", 0.1, True),
    ]


def test_vectors_are_extras_that_fail_no_run() -> None:
    reconciliation = books_of("provided_vector", 1, unreadable_record=9)
    require_quality(reconciliation, CONFIG)
    assert "9 of 10 lost" in reconciliation.not_read_whole()


def of(path: str, size: int, problem: FileProblem | None = None, kind: str = "event") -> Delivery:
    return Delivery(FoundFile(path, size, 1), kind, path, "s", (), problem)


def test_a_file_that_tells_how_many_records_it_had_counts_by_them() -> None:
    problem = FileProblem("unreadable_file", "x.csv: this is UTF-16", b"", num_records=300)
    reconciliation = count_outcomes({}, [of("x.csv", 1, problem), of("y.csv", 1000)])
    assert "x.csv (300 of 300 lost; x.csv: this is UTF-16)" in reconciliation.not_read_whole()
    assert (reconciliation.counts()["file.read"], reconciliation.counts()["file.quarantined"]) == (1, 1)
    with pytest.raises(DataQualityError, match="300 of 300"):
        require_quality(reconciliation, CONFIG)


@pytest.mark.parametrize(("size", "kind", "fails"), [(300, "event", True), (100, "event", False), (300, "item", True)])
def test_a_damaged_file_is_weighed_by_its_bytes_among_those_of_its_kind(size: int, kind: str, fails: bool) -> None:
    problem = FileProblem("unreadable_file", "x.parquet: damaged", b"")
    reconciliation = count_outcomes({}, [of("x.parquet", size, problem, kind), of("y.csv", 900)])
    assert reconciliation.not_read_whole() == "; not read whole: x.parquet: damaged"
    if fails:
        with pytest.raises(DataQualityError, match=r"cannot be read, at most 20.0% may be; x.parquet: damaged"):
            require_quality(reconciliation, CONFIG)
    else:
        require_quality(reconciliation, CONFIG)


@pytest.mark.parametrize("is_vector", [True, False])
def test_what_could_not_be_opened_or_is_of_no_format_that_is_read_fails_no_run(is_vector: bool) -> None:
    problem = FileProblem("unreadable_file", "x: no permission", b"", is_lost=is_vector)
    reconciliation = count_outcomes({}, [of("x", 100, problem, "provided_vector" if is_vector else "event")])
    require_quality(reconciliation, CONFIG)
    assert reconciliation.not_read_whole() == "; not read whole: x: no permission"
