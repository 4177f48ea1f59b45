"""Reasons why records and media go to quarantine: a closed list, and the error that carries one of them."""

from __future__ import annotations

from enum import StrEnum

from mmrec_lib.errors import MmrecError


class Reason(StrEnum):
    """The closed list of reasons that `quarantine.reason` holds."""

    NOT_JSON = "not_json"
    INVALID_UTF8 = "invalid_utf8"
    WRONG_TYPE = "wrong_type"
    MISSING_KEY = "missing_key"
    MISSING_FIELD = "missing_field"
    UNKNOWN_EVENT_TYPE = "unknown_event_type"
    IMPOSSIBLE_VALUE = "impossible_value"
    NOT_FINITE = "not_finite"
    BAD_TIME = "bad_time"
    TIME_OUT_OF_BOUNDS = "time_out_of_bounds"
    UNKNOWN_ITEM = "unknown_item"
    CONFLICTING_REDELIVERY = "conflicting_redelivery"
    MEDIA_MISSING = "media_missing"
    MEDIA_EMPTY = "media_empty"
    MEDIA_OVERSIZED = "media_oversized"
    MEDIA_TRUNCATED = "media_truncated"
    MEDIA_WRONG_TYPE = "media_wrong_type"
    MEDIA_NO_VIDEO = "media_no_video"
    MEDIA_NO_SOUND = "media_no_sound"
    MEDIA_DECODER_CRASHED = "media_decoder_crashed"
    MEDIA_DECODER_TIMEOUT = "media_decoder_timeout"
    MEDIA_OUTSIDE_LANDING = "media_outside_landing"
    UNREADABLE_RECORD = "unreadable_record"
    UNREADABLE_FILE = "unreadable_file"
    UNSUPPORTED_FORMAT = "unsupported_format"
    FILE_CHANGED = "file_changed"


FILE_REASONS = (Reason.UNREADABLE_FILE, Reason.UNSUPPORTED_FORMAT, Reason.FILE_CHANGED)
"""Reasons that judge a whole file: their quarantine rows have the record kind `file`."""

LOST_REASONS = (Reason.NOT_JSON, Reason.INVALID_UTF8, Reason.UNREADABLE_RECORD)
"""Reasons of lines and rows that were not understood as records at all; a file that loses too many fails the run."""


class RecordError(MmrecError):
    """Raised when a record breaks a rule of its kind; becomes a quarantine row, never the end of a job.

    Attributes:
        reason: One of the closed list.
        detail: What was wrong, where, and what would be right.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
