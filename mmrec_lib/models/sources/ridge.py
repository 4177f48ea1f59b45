"""The source `ridge`: EASE with content without the constraint on the diagonal; see `ease`."""

from __future__ import annotations

from types import MappingProxyType
from typing import ClassVar

from pydantic import Field

from mmrec_lib.models.sources.content_ease import PENALTIES, EaseSource
from mmrec_lib.models.sources.ease import EaseSettings


class RidgeSettings(EaseSettings):
    """Settings of ridge: those of EASE, with a diagonal exponent near 0."""

    diagonal_exponent: float = Field(default=0.0, ge=0)


class Ridge(EaseSource[RidgeSettings]):
    """The ridge form of EASE with item content."""

    name: ClassVar[str] = "ridge"
    settings_type = RidgeSettings
    grids = MappingProxyType({"diagonal_exponent": (0.0, 0.25), **PENALTIES})
