"""One page for people: `report.html`, whole in one file, without scripts and without network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jinja2

from mmrec_lib.files import write_text_atomic
from mmrec_lib.media.child import DecoderChild
from mmrec_lib.reporting import view
from mmrec_lib.reporting.ablation_view import ablation_view, second_stage_chart
from mmrec_lib.reporting.data import ReportData
from mmrec_lib.reporting.group_view import group_charts, ranker_gaps
from mmrec_lib.reporting.limits import MAX_ENTRIES, bounded, shorten
from mmrec_lib.reporting.list_view import list_type_views
from mmrec_lib.reporting.metric_view import fit_views, metric_name, shown_rows
from mmrec_lib.reporting.thumbnails import Thumbnails

# Most of it may be thumbnails.
MAX_PAGE_BYTES = 5_000_000
IMAGE_BYTES = 4_000_000
NUM_RAW_CHARACTERS = 240


def render_report(data: ReportData, path: Path) -> int:
    """Write the report; a reader sees the old file or the new one, never a part.

    Args:
        data: What to show; parts that are empty are left out or said to be absent.
        path: File to write; its folder exists.

    Returns:
        Size of the page in bytes.
    """
    page = report_html(data)
    write_text_atomic(path, page)
    return len(page.encode("utf-8", "replace"))


def report_html(data: ReportData) -> str:
    """The page as text, of at most `MAX_PAGE_BYTES`.

    Values are cut to a length that can be read (`limits.bounded`) and escaped, so that a shop's HTML stays words. Where
    so many users, items or anything else are there that the page would be larger, lists are cut until it is not, and
    the page says so.
    """
    environment = _environment()
    data = replace(data, metrics=shown_rows(data.metrics))
    max_entries = MAX_ENTRIES
    with DecoderChild() as decoder:
        thumbnails = Thumbnails(IMAGE_BYTES, decoder)
        while True:
            thumbnails.begin_page()
            page = _page(environment, bounded(data, max_entries), max_entries, thumbnails)
            if max_entries == 1 or len(page.encode("utf-8", "replace")) <= MAX_PAGE_BYTES:
                return page
            max_entries = max(max_entries // 8, 1)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mmrec_lib.reporting", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = view.count
    environment.filters["duration"] = view.duration
    environment.filters["label"] = view.label
    environment.filters["setting"] = view.settings_text
    environment.filters["shorten"] = shorten
    return environment


def _page(environment: jinja2.Environment, shown: ReportData, max_entries: int, thumbnails: Thumbnails) -> str:
    users, legend, modality_legend = view.user_views(shown.users, thumbnails)
    neighbors = view.neighbor_views(shown.neighbors, thumbnails)
    gaps = ranker_gaps(view.headline_rows(shown))
    return environment.get_template("report.html.j2").render(
        data=shown,
        max_entries=max_entries if max_entries < MAX_ENTRIES else None,
        tiles=view.tiles(shown),
        users=users,
        legend=legend,
        modality_legend=modality_legend,
        list_types=list_type_views(shown.lists, shown.num_lists, thumbnails),
        ablation=ablation_view(shown.ablation),
        groups_metric=metric_name(f"ndcg@{gaps[0].k}") if gaps else "",
        groups=group_charts(view.headline_rows(shown)),
        second_stage_chart=second_stage_chart(shown.second_stage),
        neighbors=neighbors,
        fits=fit_views(shown.metrics),
        funnel=view.bars((stage.stage, stage.rows, view.count(stage.rows), stage.note) for stage in shown.funnel),
        seconds=view.bars((job, s, view.duration(s) if s > 0 else "skipped", "") for job, s in shown.seconds.items()),
        num_raw=NUM_RAW_CHARACTERS,
    )
