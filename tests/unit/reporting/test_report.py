"""The report is one whole page, whatever the data say."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmrec_lib.evaluation import MetricRow
from mmrec_lib.evaluation.head_metrics import outcome_rows, quantity_rows
from mmrec_lib.models.ranker.explanation import NO_MODALITY
from mmrec_lib.reporting import (
    Card,
    EncodeCount,
    FunnelStage,
    HistoryItem,
    ModelInfo,
    Neighbors,
    QuarantineReason,
    Recommendation,
    ReconciliationRow,
    ReportData,
    ShownUser,
    SpokenReview,
    render_report,
)
from mmrec_lib.reporting.ablation_view import ablation_view, second_stage_chart
from mmrec_lib.reporting.data import (
    CrossModalRecall,
    SecondStageFigures,
    ShownFinding,
    ShownList,
    ShownText,
    WithoutHistoryItem,
)
from mmrec_lib.reporting.group_view import group_charts
from mmrec_lib.reporting.metric_view import Cell, fit_views, shown_rows
from mmrec_lib.reporting.report import report_html
from tests.data.mutate import mutated

VOID = {"meta", "img", "br", "link", "hr"}


class Page(HTMLParser):
    """Checks that tags close in order, and collects what tests look at."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.add(tag)
        if tag == "img":
            self.images.append(values)
        if values.get("id"):
            self.ids.add(values["id"] or "")
        if tag == "a":
            self.links.append(values.get("href") or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def image(color: str | None = "red", mode: str = "RGB", kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (640, 800), color).save(buffer, kind)
    return buffer.getvalue()


def metric_rows() -> list[MetricRow]:
    rows = []
    for segment in ("all", "warm", "cold_items"):
        for metric, k in (("ndcg", 10), ("recall", 20)):
            rows.append(MetricRow("ranker", segment, metric, k, 0.4, 0.3, 0.5, num_users=9))
            rows.append(MetricRow("popularity", segment, metric, k, 0.1, 0.0, 0.2, 0.3, 0.2, 0.4, 9))
        rows.append(MetricRow("ranker", segment, "coverage", 10, 0.5, num_users=9))
    return rows


def group_rows() -> list[MetricRow]:
    return [
        MetricRow("ranker", "activity:low", "ndcg", 10, 0.2, 0.1, 0.3, num_users=40),
        MetricRow("ranker", "activity:high", "ndcg", 10, 0.5, 0.4, 0.6, num_users=50),
        MetricRow("ranker", "activity", "ndcg_gap", 10, 0.3, 0.1, 0.5, num_users=90),
    ]


def ablation_rows() -> list[MetricRow]:
    return [
        MetricRow("ranker", "all", "ndcg", 10, 0.4, 0.3, 0.5, num_users=9),
        MetricRow("without_source:ials", "all", "ndcg", 10, 0.3, 0.2, 0.4, 0.1, 0.05, 0.2, 9, 0.01, 0.02),
        MetricRow("without_source:ridge", "all", "ndcg", 10, 0.41, 0.3, 0.5, -0.01, -0.02, 0.01, 9, 0.4, 0.4),
        MetricRow("without_modality:text", "all", "ndcg", 10, 0.38, 0.3, 0.5, 0.02, 0.01, 0.03, 9, 0.01, 0.02),
    ]


def full_data() -> ReportData:
    red, shoe = Card("p1", "Red dress", image(), "dress"), Card("p2", "Shoe", image("blue"))
    shares = {"content_ease": 1.0, "residual": -0.2, "popularity": 0.0}
    return ReportData(
        store_name="Shop",
        as_of="2025-10-01",
        versions={"mmrec": "0.1.0"},
        tables={"user": 3, "item": 2, "event": 1234567},
        funnel=[FunnelStage("event", 12, "accepted")],
        reconciliation=[ReconciliationRow("event", 14, 12, 0, 1, 1), ReconciliationRow("item", 9, 2)],
        quarantine=[QuarantineReason("not_json", 1, "line 3: JSON is needed", "{", "events/a.jsonl:3")],
        users=[
            ShownUser(
                "u1",
                num_events=2,
                attributes={"country": "DE"},
                history=[HistoryItem(red, "view", "2025-09-01"), HistoryItem(red, "like"), HistoryItem(shoe, "cart")],
                taste="Mostly dress",
                recommendations=[
                    Recommendation(
                        1,
                        shoe,
                        0.8,
                        shares,
                        "Red dress: brand Acme",
                        modality_shares={"image": 0.5, NO_MODALITY: 0.3},
                        without=WithoutHistoryItem("Red dress", 1, 17),
                    )
                ],
                history_categories={"dress": 0.75, "shoes": 0.25},
                recommended_categories={"shoes": 1.0},
            ),
            ShownUser("u2", is_warm=False),
        ],
        neighbors=[Neighbors(red, [(shoe, 0.5)])],
        lists=[
            ShownList("continue_with", [(shoe, 0.5, 12)], owner=red),
            ShownList("trending", [(red, 1.2, None)], audience="country=de"),
        ],
        num_lists={"continue_with": 1, "trending": 4},
        texts=[ShownText("u1", "p2", "Shoe", "de", "Von „Acme“.", [("brand", ["Acme"])], "template")],
        num_findings={"modality": 1_200, "near_duplicate": 1},
        findings=[ShownFinding("p2", None, "modality", -5.25, "image and text do not go together")],
        recalls=[CrossModalRecall("text", "image", 10, 0.5, 0.025, 400)],
        metrics={"fit1": metric_rows(), "fit2": [*metric_rows(), *group_rows()]},
        ablation=ablation_rows(),
        second_stage=SecondStageFigures("second stage kept: nDCG@10 +0.0142", 0.0142, 0.0076, 0.0201, 0.02, 847),
        model=ModelInfo("ranker", "3", "champion", {"dim": 64, "weights": {"a": 0.5}}, "It was better."),
        seconds={"ingest": 61.0, "score": 0.0},
        encodes=[EncodeCount("lite0", "image", "images", 2, 1, "truncated")],
        spoken=[SpokenReview("r1", "It fits.", "Red dress", 3.0, 5.0, "heard")],
    )


def test_a_full_report_is_well_formed_and_shows_every_part() -> None:
    page = Page(report_html(full_data()))
    for words in ("Red dress", "1,234,567", "nDCG@10", "champion", "It fits.", "not json", "1 min 1 s", "skipped"):
        assert words in page.text, words
    assert "Mostly dress" in page.text and "score 0.80, as Red dress: brand Acme" in page.text
    assert "7 missing" in page.text
    assert "4.0 times popularity" in page.text


def test_lists_are_explained_by_modality_and_by_what_would_be_without_an_item() -> None:
    html = report_html(full_data())
    assert 'aria-label="Modalities: image +0.50, no modality +0.30"' in html
    assert "without Red dress: place 1 → 17" in Page(html).text
    told = "Shares of modalities are not told: too many items."
    assert told in Page(report_html(ReportData("S", "2025-10-01", users=[ShownUser("u")], explanation_note=told))).text


def test_lists_of_items_and_audiences_stand_under_their_type() -> None:
    text = Page(report_html(full_data())).text
    assert text.index("Lists for everybody") < text.index("Continue with") < text.index("Trending")
    assert "share 0.50, 12" in text and "country=de" in text and "4 lists." in text


def test_texts_for_people_stand_beside_their_facts() -> None:
    text = Page(report_html(full_data())).text
    assert "Words for people" in text and "Von „Acme“." in text and "brand: Acme" in text
    assert "Words for people" not in Page(report_html(ReportData("S", "2025-10-01"))).text


def test_contradictory_contents_and_retrieval_between_modalities_are_told() -> None:
    text = Page(report_html(full_data())).text
    assert "modality 1,200, near duplicate 1." in text
    assert "image and text do not go together" in text and "-5.25" in text
    assert "0.500 (0.025)" in text
    assert "contents go together" not in Page(report_html(ReportData("S", "2025-10-01"))).text


def test_what_is_missed_most_stands_first_and_is_marked() -> None:
    view = ablation_view(ablation_rows())
    assert view is not None and view.metric == "nDCG@10"
    sources, modalities = view.charts
    assert [(row.label, row.verdict) for row in sources.rows] == [("ials", "better"), ("ridge", "open")]
    assert [row.label for row in modalities.rows] == ["text"]
    assert [name for name, _ in view.lines] == ["source ials", "modality text", "source ridge"]
    assert view.lines[0][1][0].detail == "+0.050 to +0.200, p 0.020"
    assert ablation_view([]) is None
    assert "What each part adds" in Page(report_html(full_data())).text


def test_the_second_stage_is_told_whether_it_was_judged_or_not() -> None:
    assert "Second stage kept: nDCG@10 +0.0142." in Page(report_html(full_data())).text
    assert second_stage_chart(SecondStageFigures("no second stage: too few users")) is None
    chart = second_stage_chart(full_data().second_stage)
    assert chart is not None and sorted(row.text for row in chart.rows) == ["+0.014", "+0.020"]


def test_groups_stand_under_their_gap_the_best_first() -> None:
    (chart,) = group_charts(group_rows())
    assert (chart.title, chart.note) == ("activity", "gap 0.300 (0.100 to 0.500)")
    assert [row.label for row in chart.rows] == ["high (50)", "low (40)"]
    history = [
        MetricRow("ranker", "warm", "ndcg", 10, 0.2, num_users=3),
        MetricRow("ranker", "cold", "ndcg", 10, 0.6, num_users=2),
        MetricRow("ranker", "history", "ndcg_gap", 10, 0.4, num_users=5),
    ]
    assert [row.label for row in group_charts(history)[0].rows] == ["without history (2)", "with history (3)"]


def test_every_link_of_the_contents_leads_somewhere() -> None:
    page = Page(report_html(full_data()))
    assert {link.removeprefix("#") for link in page.links} <= page.ids


def test_an_empty_report_says_what_is_absent() -> None:
    page = Page(report_html(ReportData("Shop", "2025-10-01")))
    assert "No user was chosen" in page.text
    assert "No model was evaluated" in page.text


def test_images_are_small_jpegs_with_words_for_those_who_cannot_see_them() -> None:
    images = Page(report_html(full_data())).images
    assert images
    for image in images:
        assert image["alt"]
        head, data = (image["src"] or "").split(",")
        assert head == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as thumbnail:
            assert max(thumbnail.size) <= 168


@pytest.mark.parametrize("bad", [None, b"", b"no image", image()[:300]])
def test_a_missing_or_broken_image_leaves_a_placeholder_with_the_title(bad: bytes | None) -> None:
    card = Card("p1", "Lost hat", bad)
    page = Page(report_html(ReportData("Shop", "2025-10-01", neighbors=[Neighbors(card, [])])))
    assert page.images == []
    assert page.text.count("Lost hat") == 2


@pytest.mark.parametrize(("mode", "kind"), [("RGBA", "PNG"), ("P", "GIF"), ("L", "JPEG"), ("CMYK", "JPEG")])
def test_images_of_any_colour_model_are_shown(mode: str, kind: str) -> None:
    card = Card("p1", "Hat", image(None, mode, kind))
    assert Page(report_html(ReportData("S", "2025-10-01", neighbors=[Neighbors(card, [])]))).images


def test_markup_in_the_data_stays_words() -> None:
    evil = '<script>alert("x")</script><img src=x onerror=y>'
    shown = Card(evil, evil, None, evil)
    data = ReportData(
        evil,
        evil,
        introduction=evil,
        versions={evil: evil},
        tables={evil: 1},
        funnel=[FunnelStage(evil, 1, evil)],
        quarantine=[QuarantineReason(evil, 1, evil, evil, evil)],
        users=[
            ShownUser(
                evil,
                attributes={evil: evil},
                history=[HistoryItem(shown, evil, evil)],
                taste=evil,
                recommendations=[
                    Recommendation(1, shown, 0.0, {evil: 1.0}, evil, {evil: 1.0}, WithoutHistoryItem(evil, 1, 2))
                ],
                history_categories={evil: 1.0},
            )
        ],
        lists=[ShownList(evil, [(shown, 1.0, 1)], owner=shown), ShownList(evil, [], audience=evil)],
        metrics={evil: [MetricRow(evil, "all", "ndcg", 10, 0.1, 0.0, 0.2, num_users=1)]},
        ablation=[MetricRow(f"without_source:{evil}", "all", "ndcg", 10, 0.1, 0.0, 0.2, 0.1, 0.0, 0.2, 1)],
        second_stage=SecondStageFigures(evil),
        explanation_note=evil,
        model=ModelInfo(evil, evil, evil, {evil: {evil: 1}}, evil),
        seconds={evil: 1.0},
        encodes=[EncodeCount(evil, evil, evil, 1, 1, evil)],
        spoken=[SpokenReview(evil, evil, evil)],
    )
    page = Page(report_html(data))
    assert "script" not in page.tags
    assert page.images == []


def test_nothing_is_loaded_from_anywhere() -> None:
    html = report_html(full_data())
    assert "default-src 'none'" in html
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", html)
    assert "url(" not in html and "@import" not in html


def test_the_page_stays_light_with_many_large_images() -> None:
    rng = np.random.default_rng(0)
    cards = []
    for number in range(60):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (200, 160, 3), dtype=np.uint8)).save(buffer, "JPEG")
        cards.append(Card(f"p{number}", f"Item {number}", buffer.getvalue()))
    lines = [Recommendation(rank, card, 0.0) for rank, card in enumerate(cards[:12], 1)]
    users = [ShownUser(f"u{n}", recommendations=lines) for n in range(60)]
    html = report_html(ReportData("Shop", "2025-10-01", users=users))
    assert len(html) < 5_000_000
    assert "Item 11" in html


def test_a_history_shows_an_item_once_with_all_that_was_done_with_it() -> None:
    page = Page(report_html(full_data()))
    assert "view, like" in page.text


@pytest.mark.parametrize(
    ("num_listed", "num_history", "more"), [(12, 40, "and 30 more"), (3, 3, None), (12, 0, "and 2 more")]
)
def test_a_history_tells_how_much_of_it_is_not_shown(num_listed: int, num_history: int, more: str | None) -> None:
    history = [HistoryItem(Card(f"p{number}"), "view") for number in range(num_listed)]
    user = ShownUser("u", num_history=num_history, history=history)
    text = Page(report_html(ReportData("S", "2025-10-01", users=[user]))).text
    assert more in text if more is not None else " more" not in text


def data_of(text: str, count: int) -> ReportData:
    """A report in which every text is one, and every list has so many entries."""
    names = [f"{text}{number}" for number in range(count)]
    card = Card(text, text, None, text)
    user = ShownUser(
        text,
        attributes=dict.fromkeys(names, text),
        history=[HistoryItem(Card(name, name), text, text) for name in names[:50]],
        recommendations=[Recommendation(1, card, 0.5, dict.fromkeys(names[:4], 0.1))] * min(count, 12),
        history_categories=dict.fromkeys(names, 0.1),
    )
    return ReportData(
        text,
        text,
        introduction=text,
        versions=dict.fromkeys(names, text),
        tables=dict.fromkeys(names, 1),
        funnel=[FunnelStage(name, 1, text) for name in names],
        reconciliation=[ReconciliationRow(name, 1, 1) for name in names],
        quarantine=[QuarantineReason(name, 1, text, text, text) for name in names],
        users=[user] * count,
        neighbors=[Neighbors(card, [(card, 0.5)] * min(count, 7))] * count,
        metrics={"fit1": [MetricRow(name, "all", "ndcg", 10, 0.1, 0.0, 0.2, num_users=1) for name in names[:50]]},
        model=ModelInfo(text, text, text, {name: {name: text} for name in names}, text),
        seconds=dict.fromkeys(names, 1.0),
        encodes=[EncodeCount(name, text, text, 1, 1, text) for name in names],
        spoken=[SpokenReview(name, text, text) for name in names],
        texts=[ShownText(text, text, text, "en", text, [(name, [text])], text) for name in names],
        num_findings=dict.fromkeys(names, 1),
        findings=[ShownFinding(name, text, text, 1.0, text) for name in names],
        recalls=[CrossModalRecall(text, text, 10, 0.5, 0.1, 10) for _ in names],
    )


def test_a_title_of_4_mb_costs_no_more_than_the_words_that_are_shown_of_it() -> None:
    title = "<b>Long</b> " * 350_000
    html = report_html(
        ReportData("S", "2025-10-01", neighbors=[Neighbors(Card("p1", title), [(Card(title), 0.5)] * 7)])
    )
    assert len(html) < 100_000
    assert "Long Long" in html and "…" in html and "&lt;b&gt;Long&lt;/b&gt; Long" not in html


@pytest.mark.slow
@pytest.mark.parametrize(("text", "count"), [("x" * 100_000, 3), ('"' * 1_000, 130), ("a title", 200)])
def test_the_page_stays_light_whatever_the_data(text: str, count: int) -> None:
    html = report_html(data_of(text, count))
    assert len(html.encode()) <= 5_000_000
    page = Page(html)
    assert "People and their lists" in page.text and "The run" in page.text
    assert ("its lists are cut" in page.text) == (count > 3)


def test_no_text_hides_or_turns_the_text_around_it() -> None:
    nasty = "a\u202eb\u2066c\u200fd\x1b[31me\x00f\ud800"
    html = report_html(data_of(nasty, 2))
    assert not set(html) & set("\u202e\u2066\u200f\x1b\x00\ud800")
    assert "abcd[31mef\ufffd" in html
    assert "👩\u200d👧" in report_html(ReportData("👩\u200d👧", "2025-10-01"))


def test_shop_markup_in_titles_is_not_shown() -> None:
    card = Card("p1", "<b>Hat</b> &amp; scarf", None, "Toys &amp; Games")
    page = Page(report_html(ReportData("S", "2025-10-01", neighbors=[Neighbors(card, [])])))
    assert "Hat & scarf" in page.text and "Toys & Games" in page.text


def test_items_with_long_ids_of_one_beginning_stay_apart() -> None:
    history = [HistoryItem(Card("i" * 1_000 + str(number)), "view") for number in range(3)]
    page = Page(report_html(ReportData("S", "2025-10-01", users=[ShownUser("u", history=history)])))
    assert page.text.count("view") == 3


def test_damaged_images_leave_their_place_empty_and_the_page_whole() -> None:
    media = [medium for medium in mutated(300, seed=5) if medium.kind == "image"]
    cards = [Card(medium.name, "Hat", medium.content) for medium in media]
    page = Page(report_html(ReportData("S", "2025-10-01", neighbors=[Neighbors(card, []) for card in cards])))
    assert 0 < len(page.images) < len(cards)
    assert page.text.count("Hat") >= len(cards)


def test_a_page_without_images_is_written_where_no_decoder_can_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert Page(report_html(full_data())).images == []
    assert "an image is left out of the report" in caplog.text


def test_scores_that_are_no_numbers_do_not_break_the_strips() -> None:
    line = Recommendation(1, Card("p1"), float("nan"), {"a": float("nan"), "b": 0.0})
    Page(report_html(ReportData("S", "2025-10-01", users=[ShownUser("u", recommendations=[line])])))


def test_metrics_that_are_all_zero_are_drawn() -> None:
    rows = [MetricRow(model, "all", "ndcg", 10, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 4) for model in ("ranker", "popularity")]
    assert "0.000" in Page(report_html(ReportData("S", "2025-10-01", metrics={"fit1": rows}))).text


def test_effects_on_lists_have_a_table_of_their_own_in_which_nothing_is_best() -> None:
    rows = [MetricRow(model, "all", "ndcg", 10, 0.5, 0.4, 0.6, num_users=4) for model in ("ranker", "popularity")]
    effects = [
        MetricRow("ranker", "lists", "gini", 10, 0.912, num_users=4),
        MetricRow("reranked", "lists", "gini", 10, 0.734, diff=0.178, diff_low=0.1, diff_high=0.2, num_users=4),
    ]
    (without,), (fit,) = fit_views({"fit1": rows}), fit_views({"fit1": [*rows, *effects]})
    assert fit.tables[:-1] == without.tables and fit.charts == without.charts
    table = fit.tables[-1]
    assert table.lines == [("gini@10", [Cell("0.912", "", ""), Cell("0.734", "", "")])]
    assert table.differences == [("gini@10", [Cell("+0.178", "+0.100 to +0.200", "")])]
    text = Page(report_html(ReportData("S", "2025-10-01", metrics={"fit1": [*rows, *effects]}))).text
    assert "Lists as users get them" in text and "0.734" in text


def test_requests_stand_after_the_other_segments_beside_the_parts_of_the_ranker_alone() -> None:
    rows = [MetricRow(model, "all", "ndcg", 10, 0.5, 0.4, 0.6, num_users=4) for model in ("ranker", "popularity")]
    asked = [
        MetricRow("ranker", "requests", "ndcg", 10, 0.345, 0.3, 0.4, num_users=3),
        MetricRow("first_stage", "requests", "ndcg", 10, 0.2, 0.1, 0.3, 0.145, -0.01, 0.3, 3, 0.2, 0.2),
        MetricRow("without_context", "requests", "ndcg", 10, 0.234, 0.2, 0.3, 0.111, 0.1, 0.2, 3, 0.01, 0.02),
    ]
    (without,), (fit,) = (fit_views(shown_rows({"fit2": some})) for some in (rows, [*rows, *asked]))
    assert fit.tables[:1] == without.tables
    (table,) = fit.tables[1:]
    assert (table.num_users, table.baselines) == (3, ["Ranker, first stage only", "Ranker, without context"])
    assert [cell.text for cell in table.lines[0][1]] == ["0.345", "0.200", "0.234"]
    assert table.differences[0][1][1] == Cell("+0.111", "+0.100 to +0.200, p 0.020", "better")
    (of_all, of_requests) = fit.charts[0][1]
    assert of_all == without.charts[0][1][0] and len(fit.differences) == len(without.differences) + 1
    assert [point.label for point in of_requests.rows] == [
        "Ranker",
        "Ranker, without context",
        "Ranker, first stage only",
    ]
    page = ReportData("S", "2025-10-01", metrics={"fit2": [*rows, *asked]})
    text, plain = (
        Page(report_html(page)).text,
        Page(report_html(dataclasses.replace(page, metrics={"fit2": rows}))).text,
    )
    assert "Requests, with their context" in text and "0.345" in text and "hour, device and last search" in text
    assert "Requests, with their context" not in plain


def test_groups_and_popularity_have_tables_of_their_own_and_differences_their_p_values() -> None:
    def row(model: str, segment: str, metric: str, value: float, k: int = 10) -> MetricRow:
        return MetricRow(model, segment, metric, k, value, value - 0.1, value + 0.1, num_users=40)

    tested = MetricRow("ease", "all", "ndcg", 10, 0.3, 0.2, 0.4, 0.2, 0.1, 0.3, 40, p_value=0.001, p_adjusted=0.005)
    rows = [
        row("ranker", "all", "ndcg", 0.5),
        tested,
        *(row(model, "all", "auc", value, k=0) for model, value in (("ranker", 0.9), ("ease", 0.8))),
        *(row("ranker", segment, "serendipity", 0.07) for segment in ("all", "warm")),
        row("ranker", "warm", "ndcg", 0.4),
        *(row("ranker", f"activity:{group}", "ndcg", value) for group, value in (("low", 0.3), ("high", 0.6))),
        row("ranker", "activity:low", "recall", 0.123),
        row("ranker", "activity", "ndcg_gap", 0.3),
    ]
    (fit,) = fit_views(shown_rows({"fit1": rows}))
    of_all, warm, groups, popularity = fit.tables
    assert [name for name, _ in of_all.lines] == ["nDCG@10", "AUC"]
    assert of_all.differences == [("nDCG@10", [Cell("+0.200", "+0.100 to +0.300, p 0.005", "better")])]
    assert [name for name, _ in warm.lines] == ["nDCG@10"]
    assert [name for name, _ in groups.lines] == ["activity: high", "activity: low", "gap of activity"]
    assert [cells[0].text for _, cells in groups.lines] == ["0.600", "0.300", "0.300"]
    assert popularity.lines == [("serendipity@10", [Cell("0.070", "-0.030 to 0.170", "")])]
    text = Page(report_html(ReportData("S", "2025-10-01", metrics={"fit1": rows}))).text
    assert "Groups of users and items, nDCG@10" in text and "0.123" not in text


def test_the_file_is_written_whole_and_lone_surrogates_do_not_break_it(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    size = render_report(ReportData("Shop \ud800", "2025-10-01"), path)
    assert path.stat().st_size == size
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_the_same_data_give_the_same_page() -> None:
    assert report_html(full_data()) == report_html(full_data())


def test_heads_have_a_reliability_curve_and_figures_beside_the_base_rate() -> None:
    users, labels = np.arange(40), np.tile([0.0, 0.0, 0.0, 1.0], 10)
    rows = [
        *outcome_rows("<b>purchase", users, labels, 0.2 + 0.2 * labels, 0.3),
        *quantity_rows("rating:value", users, labels, labels, 0.5),
    ]
    page = report_html(ReportData(store_name="s", as_of="2026-01-01", metrics={"fit2": rows}))
    text = Page(page).text
    assert "&lt;b&gt;purchase" in page
    assert page.count("<polyline") == 1
    assert "calibration error" in text
    assert "RMSE" in text
    assert "0.0000 (0.5000)" in text
    assert "Probabilities of outcomes" not in report_html(ReportData(store_name="s", as_of="2026-01-01"))
