"""The context of requests for lists: when, in which market, on which device and after which search.

Shape letters: n lists, m searches, U users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from mmrec_lib.errors import ModelError


@dataclass(frozen=True)
class RequestContext:
    """Context of the requests of n lists; the second stage masks what is not known.

    Attributes:
        times: [n] float64 epoch seconds of the request; NaN where unknown, as for lists that are made in advance.
        markets: [n] market, as a group of users is named (`attributes.group_value`); None stands for the user's own.
        devices: [n] device; None where unknown.
        searches: [n] words of the user's last search; None where there is none.
    """

    times: npt.NDArray[np.float64]
    markets: npt.NDArray[np.object_]
    devices: npt.NDArray[np.object_]
    searches: npt.NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.times)

    @classmethod
    def unknown(cls, num_lists: int) -> RequestContext:
        """Of lists of which nothing is known."""
        nothing = np.full(num_lists, None, dtype=np.object_)
        return cls(np.full(num_lists, np.nan), nothing, nothing, nothing)

    @classmethod
    def after_searches(cls, words: Sequence[str | None] | npt.NDArray[np.object_]) -> RequestContext:
        """Of lists that are made in advance: nothing but the words of the last search is known."""
        blank = cls.unknown(len(words))
        searches = np.empty(len(words), dtype=np.object_)
        searches[:] = words
        return cls(blank.times, blank.markets, blank.devices, searches)

    def rows(self, index: npt.NDArray[np.integer]) -> RequestContext:
        """That of some of the lists."""
        return RequestContext(*(getattr(self, field.name)[index] for field in fields(self)))


@dataclass(frozen=True)
class Searches:
    """Searches of users, in the order of users and times.

    Attributes:
        users: [m] int64 positions of users.
        times: [m] float64 epoch seconds.
        words: [m] the words as they were typed.
    """

    users: npt.NDArray[np.int64]
    times: npt.NDArray[np.float64]
    words: npt.NDArray[np.object_]

    def __post_init__(self) -> None:
        if not len(self.users) == len(self.times) == len(self.words):
            raise ModelError(
                f"searches: needs a user, a time and words for each, got {len(self.users)} users, {len(self.times)} "
                f"times and {len(self.words)} words"
            )

    @classmethod
    def of(cls, users: npt.ArrayLike, times: npt.ArrayLike, words: Sequence[str]) -> Searches:
        """Put searches in order; those of one time in that of their words."""
        people, seconds = np.asarray(users, dtype=np.int64), np.asarray(times, dtype=np.float64)
        typed = np.empty(len(people), dtype=np.object_)
        typed[:] = words
        # By objects: an array of texts would have the length of the longest for each.
        _, rank = np.unique(typed, return_inverse=True)
        order = np.lexsort((rank, seconds, people))
        return cls(people[order], seconds[order], typed[order])

    def where(self, kept: npt.NDArray[np.bool_]) -> Searches:
        """Those under a mask [m]."""
        return Searches(self.users[kept], self.times[kept], self.words[kept])

    def until(self, moment: float) -> Searches:
        """Those up to a time, in epoch seconds."""
        return self.where(self.times <= moment)

    def before(self, moment: float) -> Searches:
        """Those before a time, in epoch seconds."""
        return self.where(self.times < moment)

    def latest(self, num_users: int) -> npt.NDArray[np.object_]:
        """[U] words of the last search of each user; None where there is none."""
        found = np.full(num_users, None, dtype=np.object_)
        found[self.users] = self.words  # of one user the last one stays
        return found

    def last_before(self, users: npt.NDArray[np.integer], moments: npt.NDArray[np.float64]) -> npt.NDArray[np.object_]:
        """[n] words of the last search of users before moments of their own; None where there is none.

        A search at the very moment is not before it, and before a moment that is unknown there is none.

        Args:
            users: [n] positions of users.
            moments: [n] epoch seconds; NaN where unknown.
        """
        own = self.where(np.isin(self.users, users))
        people, times = np.concatenate([own.users, users]), np.concatenate([own.times, moments])
        is_search = np.arange(len(people)) < len(own.users)
        order = np.lexsort((is_search, times, people))
        # Searches stand in order already, so that the latest one so far is the one at the highest position.
        latest = np.empty(len(people), dtype=np.int64)
        latest[order] = np.maximum.accumulate(np.where(is_search[order], order, -1))
        at = latest[len(own.users) :]
        found = np.full(len(users), None, dtype=np.object_)
        is_own = (at >= 0) & np.isfinite(moments)
        is_own[is_own] = own.users[at[is_own]] == users[is_own]
        found[is_own] = own.words[at[is_own]]
        return found

    def context(self, num_users: int) -> RequestContext:
        """Context of a list of each user that is made after all these searches."""
        return RequestContext.after_searches(self.latest(num_users))


def latest_devices(
    devices: npt.NDArray[np.int64],
    pairs: npt.NDArray[np.integer],
    is_latest: npt.NDArray[np.bool_],
    num_pairs: int,
) -> npt.NDArray[np.int64]:
    """[num_pairs] device of the latest event of each pair; of several at one time the last by its position.

    Args:
        devices: [events] device of each event, -1 where unknown.
        pairs: [events] pair of each event.
        is_latest: [events] events of the latest time of their pair.
        num_pairs: How many pairs.
    """
    found = np.full(num_pairs, -1, dtype=np.int64)
    np.maximum.at(found, pairs[is_latest], devices[is_latest])
    return found
