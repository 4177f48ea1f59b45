"""Settings of heads."""

from __future__ import annotations

from pydantic import Field

from mmrec_lib.section import Section


class HeadsSettings(Section):
    """Settings of heads, which say how probable each outcome is for an item of a list.

    Attributes:
        outcomes: Names of the outcomes to predict; null takes all that the events can tell: `<event type>`, where
            values have a scale `<event type>>=<level>` and `<event type>:value`, and `<event type>:share` where
            events have seconds. Types of one `act` go by its name.
        high_from: Place on the scale of a value, 0 its lowest and 1 its highest, from which on it counts as high.
        num_candidates: First places of each list that a head learns from, and that expected worth may reorder.
        max_users: Users that a head learns from, at most: a seeded sample above, in which those with an outcome are
            more frequent and weigh less.
        max_rows: Items in lists that a head learns from, at most: all with an outcome, and a seeded sample of the
            others, which weigh more.
        min_events: Outcomes that a head needs; with fewer it is dropped.
        num_folds: Folds of users in which a head is judged by heads of the other folds.
    """

    outcomes: tuple[str, ...] | None = None
    high_from: float = Field(default=0.75, gt=0, le=1)
    num_candidates: int = Field(default=100, ge=2)
    max_users: int = Field(default=4_000, ge=1)
    max_rows: int = Field(default=20_000, ge=1)
    min_events: int = Field(default=20, ge=2)
    num_folds: int = Field(default=5, ge=2)
