"""What a local session says, and what it keeps to itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from mmrec_lib.lakehouse import session


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    before = list(logger.filters)
    yield logger
    logger.filters[:] = before


def test_py4js_trace_of_a_java_that_ended_is_not_shown_and_all_else_is(
    root: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    session._keep_quiet_when_java_ends()
    for place in ("/env/site-packages/py4j/java_gateway.py", "/home/py4j-users/job.py"):
        root.handle(logging.LogRecord("root", logging.ERROR, place, 1, f"said in {place}", None, None))
    assert [record.pathname for record in caplog.records] == ["/home/py4j-users/job.py"]
