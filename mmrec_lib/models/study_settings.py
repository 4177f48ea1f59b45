"""Settings of a study."""

from __future__ import annotations

from pydantic import Field

from mmrec_lib.section import Section


class StudySettings(Section):
    """Settings of a study, which searches all settings of a stage together after each was chosen by itself.

    Attributes:
        max_trials: Settings of each stage that are tried, at most.
        max_minutes: Minutes of the clock that trials of both stages may take. Where these end a study, another run may
            end it elsewhere and choose differently; with enough of them the same seed chooses the same.
    """

    max_trials: int = Field(default=60, ge=2)
    max_minutes: float = Field(default=10.0, gt=0)
