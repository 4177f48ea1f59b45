"""Launchers of the processes that train the second stage together.

The core starts processes of this machine by itself. What knows Spark gives another launcher in, by `launched_by`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Protocol

from mmrec_lib.errors import ModelError
from mmrec_lib.models.second_stage_settings import SecondStageSettings


class Launcher(Protocol):
    """Runs the processes of a training, each of which reads its task from a folder; see `processes`."""

    def scratch(self, settings: SecondStageSettings) -> AbstractContextManager[Path]:
        """An empty folder that all processes see, removed at the end.

        Raises:
            ModelError: When the settings name no such folder.
        """
        ...

    def run(self, folder: Path, settings: SecondStageSettings) -> None:
        """Run the processes to their ends.

        Raises:
            ModelError: When one of them fails; the others are ended.
        """
        ...


_GIVEN: ContextVar[Launcher | None] = ContextVar("launcher of the second stage", default=None)


@contextmanager
def launched_by(launcher: Launcher) -> Iterator[None]:
    """Let trainings with `launcher: torch_distributor` be run by this launcher."""
    token = _GIVEN.set(launcher)
    try:
        yield
    finally:
        _GIVEN.reset(token)


def given_launcher(settings: SecondStageSettings) -> Launcher:
    """The launcher that `launched_by` gave.

    Raises:
        ModelError: When none was given.
    """
    launcher = _GIVEN.get()
    if launcher is None:
        raise ModelError(
            f"second stage: training.second_stage.launcher = {settings.launcher} needs a Spark session, and here is "
            "none: fit within mmrec_lib.training.distributor.trained_by_spark(session), or with launcher: processes"
        )
    return launcher
