"""Content of a report as plain values: publishing fills them from the tables, the report only draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mmrec_lib.evaluation.rows import MetricRow


@dataclass(frozen=True)
class Card:
    """An item as people see it.

    Attributes:
        item_id: Key.
        title: Name; None shows the key.
        image: Original bytes of its first image, any size; None or unreadable bytes show a placeholder.
        caption: A few words under the title, such as category and price.
    """

    item_id: str
    title: str | None = None
    image: bytes | None = None
    caption: str | None = None


@dataclass(frozen=True)
class HistoryItem:
    """One thing that a user did: the item, the type of the event, and when (any text; None without times)."""

    card: Card
    event_type: str
    when: str | None = None


@dataclass(frozen=True)
class WithoutHistoryItem:
    """Rank of a listed item by the model alone, with the whole history and without one item of it."""

    title: str
    rank: int
    rank_without: int


@dataclass(frozen=True)
class Recommendation:
    """One line of a user's list.

    Attributes:
        rank: From 1.
        card: The item.
        score: Ranking score.
        shares: What each source adds to the score, with `residual`; may be negative.
        path: The fact that it shares with an item of the history, in words; None where nothing is shared.
        modality_shares: What the contents of each modality add to it, and all else; empty where it was not told.
        without: The item of the history without which it would fall most; None where none moves it.
    """

    rank: int
    card: Card
    score: float
    shares: Mapping[str, float] = field(default_factory=dict)
    path: str | None = None
    modality_shares: Mapping[str, float] = field(default_factory=dict)
    without: WithoutHistoryItem | None = None


@dataclass(frozen=True)
class ShownUser:
    """A user with history and recommendations.

    Attributes:
        user_id: Key.
        is_warm: False for a user without history in the model's training.
        num_events: Events of the user before as_of.
        num_history: Different items in the whole history, of which `history` lists the latest.
        attributes: What the source tells of the user, and the segment.
        taste: Short text of counted facts; None where nothing is known.
        history: Latest first; a dozen are shown.
        recommendations: Best first; a dozen are shown.
        history_categories: Share of each category in the whole history, 0 to 1; empty without categories.
        recommended_categories: Share of each category in the whole list.
    """

    user_id: str
    is_warm: bool = True
    num_events: int = 0
    num_history: int = 0
    attributes: Mapping[str, str] = field(default_factory=dict)
    taste: str | None = None
    history: Sequence[HistoryItem] = ()
    recommendations: Sequence[Recommendation] = ()
    history_categories: Mapping[str, float] = field(default_factory=dict)
    recommended_categories: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ShownText:
    """A text that was written for a user about an item of the list, with the facts that it tells.

    Attributes:
        user_id: The user.
        item_id: The item.
        title: Title of the item; None without.
        language: ISO 639-1 code.
        told: The text.
        facts: Kind of each fact, and its names and numbers.
        source: `template`, or the model that worded it.
    """

    user_id: str
    item_id: str
    title: str | None
    language: str
    told: str
    facts: Sequence[tuple[str, Sequence[str]]]
    source: str


@dataclass(frozen=True)
class Neighbors:
    """An item and the items most like it, with their cosines, most similar first."""

    card: Card
    similar: Sequence[tuple[Card, float]]


@dataclass(frozen=True)
class ShownFinding:
    """An item whose contents contradict each other, or that is nearly another one.

    Attributes:
        item_id: The item.
        title: Title of the item; None without.
        kind: modality, price or near_duplicate.
        score: Robust z-score, or the cosine of a near-duplicate.
        told: The finding in words.
    """

    item_id: str
    title: str | None
    kind: str
    score: float
    told: str


@dataclass(frozen=True)
class CrossModalRecall:
    """Share of the items that are found from another modality of theirs, among the k nearest of the joint space."""

    source: str
    target: str
    k: int
    value: float
    chance: float
    num_items: int


@dataclass(frozen=True)
class ShownList:
    """A list that is not made for one user.

    Attributes:
        list_type: bought_together, continue_with, trending or popular_like_you.
        items: Listed items with score and support, which is None where the catalogue names them.
        owner: Item that the list belongs to; None for a list of an audience.
        audience: Audience that it belongs to; empty for a list of an item.
    """

    list_type: str
    items: Sequence[tuple[Card, float, int | None]]
    owner: Card | None = None
    audience: str = ""


@dataclass(frozen=True)
class SecondStageFigures:
    """The decision on the ranker's second stage.

    Attributes:
        decision: A sentence.
        gain: Mean difference of nDCG@10 to the first stage's order; None where it was not judged.
        low: Lower end of its 95 % interval.
        high: Upper end of it.
        valid_gain: Mean difference on the validation part alone.
        num_users: Users that were judged by.
    """

    decision: str
    gain: float | None = None
    low: float = 0.0
    high: float = 0.0
    valid_gain: float = 0.0
    num_users: int = 0


@dataclass(frozen=True)
class FunnelStage:
    """Rows that reached a stage, such as ("event", 30000), with a word on what they are."""

    stage: str
    rows: int
    note: str = ""


@dataclass(frozen=True)
class ReconciliationRow:
    """Reconciliation of one kind of record: num_read is the sum of the other numbers."""

    record_kind: str
    num_read: int
    num_stored: int
    num_superseded: int = 0
    num_duplicates: int = 0
    num_quarantined: int = 0


@dataclass(frozen=True)
class QuarantineReason:
    """Number of rows set aside for a reason, with an example of the detail and of the record."""

    reason: str
    rows: int
    example_detail: str = ""
    example_raw: str = ""
    example_source: str = ""


@dataclass(frozen=True)
class EncodeCount:
    """Contents that an encoder or extractor handled, and how many of them it could not read."""

    encoder_id: str
    modality: str
    field: str
    num_contents: int
    num_errors: int = 0
    example_error: str = ""


@dataclass(frozen=True)
class SpokenReview:
    """A spoken review and its words; `made_by` names the extractor, or says that they came precomputed."""

    review_id: str
    transcript: str
    item_title: str | None = None
    seconds: float | None = None
    rating: float | None = None
    made_by: str = ""


@dataclass(frozen=True)
class ModelInfo:
    """The model behind the lists: its registered name, version and alias, its settings, and why it was promoted."""

    name: str
    version: str
    alias: str | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    decision: str = ""


@dataclass(frozen=True)
class ReportData:
    """Everything that a report shows; whatever is empty is left out or said to be absent.

    Attributes:
        store_name: Name of the data, such as the landing folder's.
        as_of: Date before which events were known, ISO 8601.
        introduction: A sentence or two about the data, such as what is real and what is simulated.
        versions: Versions of the software, by name.
        tables: Rows by table.
        funnel: Rows through the stages, in order.
        reconciliation: By kind of record.
        quarantine: By reason.
        users: A few users to look at.
        neighbors: A few items to look at.
        lists: A few lists that are not made for one user.
        num_lists: Number of such lists by type.
        texts: A sample of the texts that were written for people.
        num_findings: Number of items whose contents contradict each other, and of near-duplicates, by kind.
        findings: The worst of each kind.
        recalls: Retrieval from one modality to another in the joint space.
        metrics: By fit (fit1, fit2), as `evaluation.evaluate` returns them.
        ablation: Rows of the ranker without each of its parts, on validation.
        second_stage: Decision on the second stage; None where none was made.
        explanation_note: Reason why shares of modalities are not told; empty where they are.
        model: The model behind the lists.
        seconds: By job, in order; 0 where it was skipped.
        encodes: By encoder.
        spoken: A few spoken reviews.
    """

    store_name: str
    as_of: str
    introduction: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, int] = field(default_factory=dict)
    funnel: Sequence[FunnelStage] = ()
    reconciliation: Sequence[ReconciliationRow] = ()
    quarantine: Sequence[QuarantineReason] = ()
    users: Sequence[ShownUser] = ()
    neighbors: Sequence[Neighbors] = ()
    lists: Sequence[ShownList] = ()
    num_lists: Mapping[str, int] = field(default_factory=dict)
    texts: Sequence[ShownText] = ()
    num_findings: Mapping[str, int] = field(default_factory=dict)
    findings: Sequence[ShownFinding] = ()
    recalls: Sequence[CrossModalRecall] = ()
    metrics: Mapping[str, Sequence[MetricRow]] = field(default_factory=dict)
    ablation: Sequence[MetricRow] = ()
    second_stage: SecondStageFigures | None = None
    explanation_note: str = ""
    model: ModelInfo | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    encodes: Sequence[EncodeCount] = ()
    spoken: Sequence[SpokenReview] = ()
