"""Settings of the report."""

from __future__ import annotations

from pydantic import Field

from mmrec_lib.section import Section


class ReportConfig(Section):
    """Settings of the report: how much it shows.

    Attributes:
        num_users: Users whose lists are shown.
        num_items: Items whose neighbours are shown.
        num_spoken: Spoken reviews whose transcripts are shown.
        introduction: A sentence or two about the data, shown on top.
    """

    num_users: int = Field(default=6, ge=0)
    num_items: int = Field(default=6, ge=0)
    num_spoken: int = Field(default=5, ge=0)
    introduction: str = ""
