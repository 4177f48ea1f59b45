"""Reasons why a query has no items: a closed list."""

from __future__ import annotations

from enum import StrEnum


class EmptyReason(StrEnum):
    """The closed list that `query_result.reason` holds."""

    NO_WORDS = "no_words"
    SILENT = "silent"
    NOT_READ = "not_read"
    MEDIA_MISSING = "media_missing"
    MEDIA_UNREADABLE = "media_unreadable"
    NO_MATCH = "no_match"
    NOT_SHOWN = "not_shown"


MEANINGS = {
    EmptyReason.NO_WORDS: "there is no letter or digit in it",
    EmptyReason.SILENT: "nobody speaks in the recording",
    EmptyReason.NOT_READ: "no model reads it: `embedding.extract.audio.transcript` is null, or no encoder of images is "
    "among those of `search.vector_fields`",
    EmptyReason.MEDIA_MISSING: "the image or recording is in quarantine, which tells why",
    EmptyReason.MEDIA_UNREADABLE: "the image or recording could not be encoded",
    EmptyReason.NO_MATCH: "no item has one of its words or is near, as with words of an unknown script or noise",
    EmptyReason.NOT_SHOWN: "all items found are kept from this user: not available, another market, a rule, a control",
}
"""Each reason in words."""
