"""Configuration of the ingest: bounds, event types, the catalogue's manner of delivery, media limits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from mmrec_lib.ingest.records.spellings import NULL_SPELLINGS
from mmrec_lib.media.decoder_limits import DecoderLimits
from mmrec_lib.section import Section


def _as_utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


UtcTime = Annotated[datetime, AfterValidator(_as_utc)]


class IngestConfig(Section):
    """Limits of the records that the ingest accepts.

    Attributes:
        ts_min: Earliest time that a record may carry (records without a time get 1970-01-01 and are not held to it).
        ts_max: Latest time that a record may carry; null is the run's clock and `max_ahead_hours`.
        max_ahead_hours: How far ahead of the run's clock a time may be. The default lets pass what shops east of
            Greenwich write without an offset.
        max_quarantine_share: Share of a kind's records in one run above which the job fails and writes nothing.
        min_records: Kinds with fewer records in the run are not held to `max_quarantine_share`.
        max_record_bytes: Longest record; longer ones go to quarantine with their first `max_record_bytes` bytes.
        max_id_chars: Longest id.
        null_spellings: Texts that mean null in any field of any format; blank text always does. In keys and required
            fields they are refused.
        max_attributes: Most fields beyond the contract that one record may keep; the others are dropped with a note.
        max_attribute_name_chars: Longest name of such a field; a longer one is dropped with a note.
        max_text_chars: Longest text of a field; the rest is cut off, with a note.
        split_bytes: Landing files are read in pieces of about this size.
    """

    ts_min: UtcTime = datetime(1990, 1, 1, tzinfo=UTC)
    ts_max: UtcTime | None = None
    max_ahead_hours: float = Field(default=24.0, ge=0)
    max_quarantine_share: float = Field(default=0.2, ge=0, le=1)
    min_records: int = Field(default=100, ge=1)
    max_record_bytes: int = Field(default=4 * 2**20, ge=1024)
    max_id_chars: int = Field(default=256, ge=8)
    null_spellings: tuple[str, ...] = NULL_SPELLINGS
    max_attributes: int = Field(default=200, ge=0)
    max_attribute_name_chars: int = Field(default=200, ge=1)
    max_text_chars: int = Field(default=1_000_000, ge=1000)
    split_bytes: int = Field(default=32 * 2**20, ge=1024)

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> IngestConfig:
        if self.ts_max is not None and self.ts_min >= self.ts_max:
            raise ValueError(f"ts_min must be before ts_max, got {self.ts_min} and {self.ts_max}")
        return self

    def latest_time(self, now: datetime) -> datetime:
        """The latest time that a record may carry in a run whose clock says `now`."""
        return self.ts_max if self.ts_max is not None else now + timedelta(hours=self.max_ahead_hours)


class EventTypeConfig(Section):
    """Needs and meaning of an event type.

    Attributes:
        needs_item: Whether an event of this type must name an item.
        needs_query: Whether it must carry words.
        needs_value: Whether it must carry a value.
        value_min: Lowest allowed value; none when null.
        value_max: Highest allowed value; none when null.
        weight: How much one such event says about liking the item; 0 when it says nothing.
        counts_as_seen: Whether the item need not be recommended again.
        seen_days: Days after which an item that was seen by such an event may be recommended again, for what is used up
            and bought again; null never. Counted back from the as-of date; events without a time never get old.
        low_value_below: A value below this one is low; null when no value is.
        low_value_means: What a low value says of the item: positive (all the same), ignore, or negative.
        act: Name of what the user did, where several types tell of it, such as a rating and the review that repeats it:
            of types with the same name only the one that weighs most counts for a user and an item, never their sum.
    """

    needs_item: bool = True
    needs_query: bool = False
    needs_value: bool = False
    value_min: float | None = None
    value_max: float | None = None
    weight: float = 1.0
    counts_as_seen: bool = True
    seen_days: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    low_value_below: float | None = None
    low_value_means: Literal["positive", "ignore", "negative"] = "positive"
    act: str | None = None

    @model_validator(mode="after")
    def _each_key_has_an_effect(self) -> EventTypeConfig:
        if self.seen_days is not None and not self.counts_as_seen:
            raise ValueError(
                f"seen_days has an effect only where counts_as_seen is true, got {self.seen_days:g} days without"
            )
        if self.low_value_means != "positive" and self.low_value_below is None:
            raise ValueError(
                f"low_value_means has an effect only beside low_value_below, got {self.low_value_means!r} without"
            )
        return self


DEFAULT_EVENT_TYPES: dict[str, EventTypeConfig] = {
    "view": EventTypeConfig(weight=1.0),
    "search": EventTypeConfig(needs_item=False, needs_query=True, weight=0.0, counts_as_seen=False),
    "like": EventTypeConfig(weight=3.0),
    "share": EventTypeConfig(weight=3.0),
    "cart": EventTypeConfig(weight=4.0),
    "purchase": EventTypeConfig(weight=5.0),
    "listen": EventTypeConfig(weight=1.0),
    "rating": EventTypeConfig(needs_value=True, value_min=1, value_max=5, weight=1.0, low_value_below=3, act="rating"),
    "review": EventTypeConfig(needs_value=True, value_min=1, value_max=5, weight=1.0, low_value_below=3, act="rating"),
    "comment": EventTypeConfig(weight=1.0, act="rating"),
}


class ItemsConfig(Section):
    """Manner in which the catalogue is delivered.

    Attributes:
        full_snapshot: When true, the item files that arrive together are the whole catalogue: items that are in none
            of them (not even as a quarantined record with a readable id) are removed.
    """

    full_snapshot: bool = False


class MediaConfig(Section):
    """Limits of media, and the place where their bytes are kept.

    Attributes:
        inline_bytes: Media up to this size are kept as bytes in `media_asset`, larger ones by URI.
        max_bytes: Largest accepted file; a worker holds one such file in memory.
        max_pixels: Largest accepted image, width times height; Pillow's own bound is the most that may be allowed.
        read_bytes: About how many bytes of media one task reads.
        decoder_timeout_seconds: After so long a decoder counts as hanging, and the medium goes to quarantine.
        decoder_memory_bytes: Most memory of the process that decodes; a medium that needs more goes to quarantine.
    """

    inline_bytes: int = Field(default=16 * 2**20, ge=0)
    max_bytes: int = Field(default=256 * 2**20, ge=1)
    max_pixels: int = Field(default=50_000_000, ge=1, le=178_956_970)
    read_bytes: int = Field(default=32 * 2**20, ge=1)
    decoder_timeout_seconds: float = Field(default=DecoderLimits.timeout_seconds, gt=0)
    decoder_memory_bytes: int = Field(default=DecoderLimits.memory_bytes, ge=256 * 2**20)


class LandingConfig(Section):
    """Everything that `ingest` needs to know; the job's sections of the same names.

    Attributes:
        ingest: Bounds and limits of records.
        events: The declared event types by name.
        items: How the catalogue is delivered.
        media: Limits of media.
    """

    ingest: IngestConfig = IngestConfig()
    events: dict[str, EventTypeConfig] = Field(default_factory=lambda: dict(DEFAULT_EVENT_TYPES), min_length=1)
    items: ItemsConfig = ItemsConfig()
    media: MediaConfig = MediaConfig()
