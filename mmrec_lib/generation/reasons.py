"""Reasons why an item of a list has no text."""

from __future__ import annotations

from enum import StrEnum


class NoTextReason(StrEnum):
    """Reasons: nothing may be told of the pair, or no text of its facts is in bounds."""

    NO_FACTS = "no_facts"
    OUT_OF_BOUNDS = "out_of_bounds"
