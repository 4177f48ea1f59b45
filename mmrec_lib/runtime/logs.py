"""Logging of a run: set up by entry points only, harmless to terminals, free of secrets."""

from __future__ import annotations

import logging
import sys
import warnings

from mmrec_lib.safe_text import for_people

LOG_LEVELS = ("debug", "info", "warning", "error")
LIBRARY = "mmrec_lib"
# They report as errors what mmrec tells in one sentence.
_NOISY = ("py4j", "alembic", "mlflow", "pyspark", "sqlalchemy")


class SafeFormatter(logging.Formatter):
    """Formats a record as one line; names and values in it cannot forge lines, move the cursor or tell secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's line, and the trace below it where there is one."""
        plain = logging.makeLogRecord(record.__dict__ | {"exc_info": None, "exc_text": None, "stack_info": None})
        line = for_people(super().format(plain))
        if record.exc_info:
            line += "\n" + for_people(self.formatException(record.exc_info), keep_lines=True)
        return line


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what standard error is at the time, as long as it is open."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def configure_logging(level: str = "info") -> None:
    """Show the library's messages from a level on, and of other libraries only what matters.

    Args:
        level: One of `LOG_LEVELS`; `debug` also shows what other libraries report, and traces.
    """
    root = logging.getLogger()
    if not any(isinstance(handler, _Handler) for handler in root.handlers):
        handler = _Handler()
        handler.setFormatter(SafeFormatter("%(levelname)s %(name)s: %(message)s"))
        root.addHandler(handler)
    is_debug = level == "debug"
    root.setLevel(logging.WARNING)
    logging.getLogger(LIBRARY).setLevel(level.upper())
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING if is_debug else logging.CRITICAL)
    if not is_debug:
        warnings.filterwarnings("ignore", module=r"(mlflow|pyspark)\b.*")
