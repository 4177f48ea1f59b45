"""The base of every configuration and settings class; alone, so that a served model needs nothing else of `config`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of every configuration class: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
