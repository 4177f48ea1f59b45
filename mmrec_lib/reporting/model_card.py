"""The model card: what a model is for, what it was made of, how good it is and where it fails, as Markdown.

After Mitchell et al., "Model Cards for Model Reporting" (2019). It is written for people who decide about a model, not
for those who made it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mmrec_lib.evaluation.requests import REQUESTS, WITHOUT_CONTEXT
from mmrec_lib.evaluation.rows import MetricRow
from mmrec_lib.reporting.ablation_view import part_name
from mmrec_lib.reporting.charts import RANKER
from mmrec_lib.reporting.group_view import groups_of, ranker_gaps
from mmrec_lib.reporting.metric_view import MODEL_NAMES, PARTS_OF_RANKER, metric_name
from mmrec_lib.reporting.view import label
from mmrec_lib.safe_text import page_text

_METRICS = ("ndcg", "recall")
_SEGMENTS = (
    ("all", "all users"),
    ("warm", "users with history"),
    ("cold", "new users"),
    (REQUESTS.name, "requests with their context, a mean for each user"),
)
# Fewer users in the test part than that leave wide intervals.
_FEW_USERS = 200
_RARE = 0.5
_SECTION = "\n## "
_ELSEWHERE = "\n\nThe whole card is the artifact `model_card/model_card.md` of the run.\n"
_MARKUP = re.compile(r"([\\`*_\[\]<>|#])")
_NOT_FOR = (
    "Decisions about people, such as credit, prices, work or access: it foretells interest in items, nothing else.",
    "Scores as probabilities: they order the items of one user and do not compare between users. The probabilities "
    "beside them do, where outcomes have heads.",
    "Another catalogue, market or language than those of its data, before it was trained and evaluated there.",
    "Conclusions about causes: it learned from what people turned to under the lists of their time.",
    "Guesses of what users did not tell about themselves.",
)


@dataclass(frozen=True)
class PartFacts:
    """A part of the data.

    Attributes:
        num_pairs: Pairs of a user and an item.
        num_users: Users with one.
        dates: First and last day, or empty without times.
    """

    num_pairs: int
    num_users: int
    dates: tuple[str, ...] = ()


@dataclass(frozen=True)
class CardFacts:
    """All that a model card tells.

    Attributes:
        name: Registered name.
        version: Version.
        baseline: Baseline that the version holds in a ranker's place; empty for a ranker.
        snapshot_id: Training snapshot.
        as_of: Events before this date count.
        split: How train, valid and test were divided.
        published: The data that the published model was fitted on.
        num_users: Users.
        num_items: Items of the catalogue.
        parts: By name: train, valid, test.
        contents: Share of the items that have a content, by block.
        user_attributes: Attributes of users that the model looks at.
        encoders: Encoder and revision by modality and field.
        table_versions: Version of each table that the model was made from.
        sources: Weight of each source in the fusion.
        second_stage: Decision on the second stage, a sentence; empty where none was made.
        scorer: Decision on a scorer, a sentence; empty where none was tried.
        metrics: Rows on test.
        ablation: Rows of the ablation; empty where it was not made.
        k: Cut-off of the lists that the card speaks of.
    """

    name: str
    version: str
    snapshot_id: str
    as_of: str
    split: str
    published: str
    num_users: int
    num_items: int
    parts: Mapping[str, PartFacts]
    baseline: str = ""
    contents: Mapping[str, float] = field(default_factory=dict)
    user_attributes: Sequence[str] = ()
    encoders: Mapping[str, str] = field(default_factory=dict)
    table_versions: Mapping[str, int] = field(default_factory=dict)
    sources: Mapping[str, float] = field(default_factory=dict)
    second_stage: str = ""
    scorer: str = ""
    metrics: Sequence[MetricRow] = ()
    ablation: Sequence[MetricRow] = ()
    k: int = 10


def model_card(facts: CardFacts) -> str:
    """The card as Markdown; what matters most comes first."""
    sections = (
        ("", [f"# Model card: {facts.name}, version {facts.version}", "", *_summary(facts)]),
        ("What it is for", _purpose(facts)),
        ("What it must not be used for", [f"- {line}" for line in _NOT_FOR]),
        ("How good it is", _quality(facts)),
        ("Groups and gaps", _gaps(facts)),
        ("Limits", [f"- {line}" for line in _limits(facts)]),
        ("Data", _data(facts)),
        ("How it works", _method(facts)),
        ("What each part adds", _ablation(facts)),
    )
    blocks = ["\n".join(([f"## {title}", ""] if title else []) + lines) for title, lines in sections if lines]
    return "\n\n".join(blocks) + "\n"


def shortened_card(card: str, max_characters: int) -> str:
    """A card without its last sections where it is longer than allowed, with a line that says where the whole is."""
    if len(card) <= max_characters:
        return card
    sections = card.split(_SECTION)
    while len(sections) > 1 and len(_SECTION.join(sections)) + len(_ELSEWHERE) > max_characters:
        sections.pop()
    return _SECTION.join(sections).rstrip() + _ELSEWHERE


def _summary(facts: CardFacts) -> list[str]:
    by_model = {row.model: row for row in _rows(facts, "ndcg", "all")}
    own = by_model.pop(RANKER, None)
    if own is None:
        return ["It was not measured: nobody in the test part has anything to find."]
    told = f"On the test part ({own.num_users:,} users) it reaches an nDCG@{facts.k} of {_with_interval(own)}."
    others = [row for row in by_model.values() if row.model in MODEL_NAMES and row.model not in PARTS_OF_RANKER]
    if not others:
        return [told]
    best = max(others, key=lambda row: row.value)
    verdict = "no clear difference"
    if best.diff_low is not None and best.diff_high is not None and (best.diff_low > 0 or best.diff_high < 0):
        verdict = "better" if best.diff_low > 0 else "worse"
    return [
        f"{told} The best baseline, {_model(best.model)}, reaches {best.value:.3f}: {verdict} ({_difference(best)}). "
        "nDCG is 1 where what a user turned to next fills the first places, and 0 where none of it is in the list."
    ]


def _purpose(facts: CardFacts) -> list[str]:
    lines = [
        "Orders the items of the catalogue for each known user, for lists that are made in batch, and finds items that "
        "are alike. Users without history get what is popular with people like them; items without interactions are "
        "placed by their contents."
    ]
    if facts.baseline:
        lines.append("")
        lines.append(
            f"This version is the baseline {_model(facts.baseline)}: no ranker has passed the gate yet, and it is "
            "published in the place of one."
        )
    return lines


def _quality(facts: CardFacts) -> list[str]:
    lines: list[str] = []
    for metric in _METRICS:
        for segment, whom in _SEGMENTS:
            rows = sorted(_rows(facts, metric, segment), key=lambda row: -row.value)
            if not any(row.model == RANKER for row in rows) or (segment != "all" and metric != "ndcg"):
                continue
            name = metric_name(f"{metric}@{facts.k}")
            lines += [*([""] if lines else []), f"{name}, {whom} ({rows[0].num_users:,}), 95 % intervals over users:"]
            lines += ["", f"| model | {name} | ranker minus model |", "|---|---|---|"]
            lines += [f"| {_model(row.model)} | {_with_interval(row)} | {_difference(row)} |" for row in rows]
    return lines


def _gaps(facts: CardFacts) -> list[str]:
    gaps = [gap for gap in ranker_gaps(facts.metrics) if gap.k == facts.k]
    if not gaps:
        return ["No groups were large enough to be told apart."]
    lines = [
        f"Mean nDCG@{facts.k} of the groups served best and worst; a gap whose interval holds 0 may be chance.",
        "",
        "| groups by | best | worst | gap |",
        "|---|---|---|---|",
    ]
    for gap in gaps:
        groups = list(groups_of(facts.metrics, gap).items())
        ends = [f"{_plain(label(name))} {row.value:.3f}" for name, row in (*groups[:1], *groups[-1:])] or ["", ""]
        lines.append(f"| {_plain(label(gap.segment))} | {ends[0]} | {ends[-1]} | {_with_interval(gap)} |")
    return lines


def _limits(facts: CardFacts) -> Iterator[str]:
    test = facts.parts.get("test")
    if test is None or not test.num_users:
        yield "There is no test part: nothing is known about its quality on what comes next."
    elif test.num_users < _FEW_USERS:
        yield f"Only {test.num_users:,} users are in the test part: small differences cannot be seen."
    for segment, whom in _SEGMENTS:
        others = [
            row for row in _rows(facts, "ndcg", segment) if row.diff is not None and row.model not in PARTS_OF_RANKER
        ]
        best = max(others, key=lambda row: row.value, default=None)
        if best is not None and (best.diff_low is None or best.diff_low <= 0):
            yield f"For {whom} it is not clearly better than {_model(best.model)}: nDCG@{facts.k} {_difference(best)}."
    for row in _rows(facts, "ndcg", REQUESTS.name):
        if row.model == WITHOUT_CONTEXT and (row.diff_low is None or row.diff_low <= 0):
            yield f"It is not clear that the context of requests helps: nDCG@{facts.k} {_difference(row)}."
    rare = sorted(name for name, share in facts.contents.items() if share < _RARE)
    if rare:
        yield f"Contents that fewer than half of the items have: {', '.join(map(_plain, rare))}."
    if not facts.contents:
        yield "It knows no contents: items without interactions cannot be placed."
    if any(part.num_pairs and not part.dates for part in facts.parts.values()):
        yield "Its events have no times: it cannot tell what is new from what is old."
    yield (
        "Figures are about the past: who saw other lists would have turned to other items. Only an experiment with "
        "users tells what the lists change."
    )
    yield f"It knows nothing after {facts.as_of}; its quality falls as tastes and the catalogue change."


def _data(facts: CardFacts) -> list[str]:
    lines = [
        f"Snapshot `{facts.snapshot_id}`, events before {facts.as_of}, split `{facts.split}`; {facts.num_users:,} "
        f"users, {facts.num_items:,} items. The published model is fitted on {facts.published}.",
        "",
        "| part | user-item pairs | users | from | to |",
        "|---|---|---|---|---|",
    ]
    for name, part in facts.parts.items():
        first, last = part.dates if part.dates else ("", "")
        lines.append(f"| {name} | {part.num_pairs:,} | {part.num_users:,} | {first} | {last} |")
    if facts.user_attributes:
        lines += ["", f"Attributes of users that it looks at: {', '.join(map(_plain, facts.user_attributes))}."]
    if facts.contents:
        lines += ["", "| content | items that have it | encoder and revision |", "|---|---|---|"]
        lines += [
            f"| {_plain(name)} | {share:.0%} | {_plain(facts.encoders.get(name, ''))} |"
            for name, share in facts.contents.items()
        ]
    if facts.table_versions:
        versions = ", ".join(f"{name} {number}" for name, number in sorted(facts.table_versions.items()))
        lines += ["", f"Table versions: {versions}."]
    return lines


def _method(facts: CardFacts) -> list[str]:
    lines = []
    if facts.sources:
        weights = ", ".join(f"{label(name)} {weight:g}" for name, weight in facts.sources.items())
        lines.append(
            f"Scores of several sources are standardised by user and added ({weights}), with popularity and groups of "
            "users; the sum is distilled into one vector a user and one an item. Settings are chosen on the validation "
            "part, the test part is read once."
        )
    for told in filter(None, (facts.second_stage, facts.scorer)):
        lines += [*([""] if lines else []), f"{told[:1].upper()}{told[1:]}."]
    return lines


def _ablation(facts: CardFacts) -> list[str]:
    rows = [
        row
        for row in facts.ablation
        if (row.segment, row.metric, row.k) == ("all", "ndcg", facts.k) and row.model != RANKER
    ]
    if not rows:
        return []
    lines = [
        f"nDCG@{facts.k} on the validation part that is lost without a part, the others weighed anew.",
        "",
        "| without | lost |",
        "|---|---|",
    ]
    return lines + [f"| {_plain(part_name(row.model))} | {_difference(row)} |" for row in sorted(rows, key=_loss_first)]


def _loss_first(row: MetricRow) -> float:
    return -(row.diff or 0.0)


def _rows(facts: CardFacts, metric: str, segment: str) -> list[MetricRow]:
    return [row for row in facts.metrics if (row.metric, row.k, row.segment) == (metric, facts.k, segment)]


def _model(name: str) -> str:
    return MODEL_NAMES.get(name, _plain(label(name)))


def _plain(text: str) -> str:
    """A name of the data in a line of Markdown: no markup, no end of a cell."""
    return _MARKUP.sub(r"\\\1", page_text(" ".join(text.split())))


def _with_interval(row: MetricRow) -> str:
    interval = "" if row.ci_low is None or row.ci_high is None else f" ({row.ci_low:.3f} to {row.ci_high:.3f})"
    return f"{row.value:.3f}{interval}"


def _difference(row: MetricRow) -> str:
    if row.diff is None or row.diff_low is None or row.diff_high is None:
        return ""
    test = "" if row.p_adjusted is None else f", p {row.p_adjusted:.3f}"
    return f"{row.diff:+.3f} ({row.diff_low:+.3f} to {row.diff_high:+.3f}{test})"
