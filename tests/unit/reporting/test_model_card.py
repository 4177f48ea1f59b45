"""The model card says what it is for and not for, and every figure that it tells is one of the metrics."""

from __future__ import annotations

import dataclasses

from mmrec_lib.evaluation import MetricRow
from mmrec_lib.reporting.model_card import CardFacts, PartFacts, model_card, shortened_card

METRICS = [
    MetricRow("ranker", "all", "ndcg", 10, 0.412, 0.390, 0.431, num_users=900),
    MetricRow("popularity", "all", "ndcg", 10, 0.111, 0.100, 0.120, 0.301, 0.280, 0.320, 900, 0.001, 0.002),
    MetricRow("ease", "all", "ndcg", 10, 0.405, 0.380, 0.430, 0.007, -0.004, 0.018, 900, 0.3, 0.3),
    MetricRow("ranker", "cold", "ndcg", 10, 0.2, 0.1, 0.3, num_users=50),
    MetricRow("ranker", "user_country:de", "ndcg", 10, 0.45, 0.4, 0.5, num_users=400),
    MetricRow("ranker", "user_country:fr", "ndcg", 10, 0.33, 0.3, 0.4, num_users=300),
    MetricRow("ranker", "user_country", "ndcg_gap", 10, 0.12, 0.05, 0.2, num_users=700),
]
FACTS = CardFacts(
    name="mmrec_ranker",
    version="7",
    snapshot_id="s1",
    as_of="2025-10-01",
    split="by_time",
    published="train, valid, test",
    num_users=1_000,
    num_items=400,
    parts={
        "train": PartFacts(12_000, 990, ("2025-07-01", "2025-09-10")),
        "test": PartFacts(1_600, 900, ("2025-09-20", "2025-09-30")),
    },
    contents={"text:title": 0.98, "audio:audio": 0.1},
    user_attributes=("country",),
    encoders={"text:title": "minilm abc123"},
    table_versions={"event": 3},
    sources={"ials": 1.0},
    second_stage="second stage kept: nDCG@10 +0.0142",
    metrics=METRICS,
    ablation=[MetricRow("without_source:ials", "all", "ndcg", 10, 0.3, 0.2, 0.4, 0.1, 0.05, 0.2, 9, 0.01, 0.02)],
)


def test_a_card_tells_purpose_limits_figures_groups_and_data() -> None:
    card = model_card(FACTS)
    headings = [line for line in card.splitlines() if line.startswith("#")]
    assert headings[0] == "# Model card: mmrec_ranker, version 7"
    assert headings[1:] == [
        f"## {title}"
        for title in (
            "What it is for",
            "What it must not be used for",
            "How good it is",
            "Groups and gaps",
            "Limits",
            "Data",
            "How it works",
            "What each part adds",
        )
    ]
    for line in (
        "nDCG@10 of 0.412 (0.390 to 0.431)",
        "The best baseline, EASE, reaches 0.405: no clear difference",
        "| Popularity | 0.111 (0.100 to 0.120) | +0.301 (+0.280 to +0.320, p 0.002) |",
        "| user country | de 0.450 | fr 0.330 | 0.120 (0.050 to 0.200) |",
        "| train | 12,000 | 990 | 2025-07-01 | 2025-09-10 |",
        "| text:title | 98% | minilm abc123 |",
        "Contents that fewer than half of the items have: audio:audio.",
        "| source ials | +0.100 (+0.050 to +0.200, p 0.020) |",
        "Second stage kept: nDCG@10 +0.0142.",
        "event 3",
    ):
        assert line in card, line


def test_a_worse_baseline_is_told_as_better_and_a_published_baseline_by_name() -> None:
    only = [METRICS[0], METRICS[1]]
    assert "Popularity, reaches 0.111: better" in model_card(dataclasses.replace(FACTS, metrics=only))
    published = model_card(dataclasses.replace(FACTS, baseline="item_knn"))
    assert "This version is the baseline Item kNN" in published


def test_what_is_not_known_is_said() -> None:
    empty = CardFacts("m", "1", "s", "2025-10-01", "given", "train", 0, 0, {"train": PartFacts(5, 2)})
    card = model_card(empty)
    for line in (
        "It was not measured",
        "There is no test part",
        "It knows no contents",
        "Its events have no times",
        "No groups were large enough",
    ):
        assert line in card, line


def test_names_of_the_data_cannot_break_a_table_or_become_markup() -> None:
    evil = "a|b\n<script>*x*"
    card = model_card(dataclasses.replace(FACTS, contents={evil: 0.2}, encoders={}, user_attributes=(evil,)))
    assert "<script>" not in card.replace("\\<", "")
    assert r"a\|b \<script\>\*x\* | 20% |" in card


def test_a_long_card_is_cut_between_sections_and_says_where_the_whole_is() -> None:
    card = model_card(FACTS)
    assert shortened_card(card, len(card)) == card
    short = shortened_card(card, 1_500)
    assert len(short) <= 1_500
    assert short.endswith("`model_card/model_card.md` of the run.\n")
    assert "## What it must not be used for" in short and "## Data" not in short
    assert card.startswith(short.partition("\n\nThe whole card")[0])


def test_users_for_whom_a_baseline_is_as_good_are_among_the_limits() -> None:
    card = model_card(FACTS)
    assert "For all users it is not clearly better than EASE: nDCG@10 +0.007 (-0.004 to +0.018, p 0.300)." in card
    assert "not clearly better" not in model_card(dataclasses.replace(FACTS, metrics=METRICS[:2]))


def test_requests_stand_beside_the_lists_without_context_and_a_gain_that_may_be_chance_is_a_limit() -> None:
    asked = [
        MetricRow("ranker", "requests", "ndcg", 10, 0.25, 0.2, 0.3, num_users=700),
        MetricRow("without_context", "requests", "ndcg", 10, 0.21, 0.2, 0.3, 0.04, 0.01, 0.07, 700, 0.01, 0.02),
        MetricRow("first_stage", "requests", "ndcg", 10, 0.2, 0.1, 0.3, 0.05, -0.01, 0.11, 700, 0.2, 0.2),
    ]
    card = model_card(dataclasses.replace(FACTS, metrics=[*METRICS, *asked]))
    assert "nDCG@10, requests with their context, a mean for each user (700), 95 % intervals over users:" in card
    assert "| Ranker, without context | 0.210 (0.200 to 0.300) | +0.040 (+0.010 to +0.070, p 0.020) |" in card
    assert "The best baseline, EASE" in card
    assert "context of requests helps" not in card and "For requests" not in card
    asked[1] = dataclasses.replace(asked[1], diff=0.001, diff_low=-0.02)
    card = model_card(dataclasses.replace(FACTS, metrics=[*METRICS, *asked]))
    assert "It is not clear that the context of requests helps: nDCG@10 +0.001 (-0.020 to +0.070, p 0.020)." in card
