"""Progress that a person can read and a log file can bear."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

from mmrec_lib.safe_text import for_people


class Progress:
    """Prints one line a job; on a terminal also what is going on right now."""

    def __init__(self, console: Console | None = None) -> None:
        """Write to standard error, so that standard output ends with the JSON summary."""
        self._console = console or Console(file=sys.stderr, highlight=False, soft_wrap=True)

    def line(self, text: str) -> None:
        """One line that stays; names in it are harmless to a terminal."""
        self._console.print(for_people(text), markup=False)

    @contextmanager
    def working(self, text: str) -> Iterator[None]:
        """While the block runs a terminal shows `text` with the time it takes; a log file shows nothing."""
        if not self._console.is_terminal:
            yield
            return
        with self._console.status(escape(for_people(text))):
            yield
