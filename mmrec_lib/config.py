"""Configuration: YAML layers merged by OmegaConf, checked by Pydantic; unknown keys are errors."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of every configuration class: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
