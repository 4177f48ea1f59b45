"""One page for people: `report.html`, whole in one file, without scripts and without network."""

from __future__ import annotations

from pathlib import Path

import jinja2

from mmrec_lib.files import write_text_atomic
from mmrec_lib.reporting import view
from mmrec_lib.reporting.data import ReportData
from mmrec_lib.reporting.thumbnails import Thumbnails

# Text, tables and styles stay far below 1 MB, so that a page stays below 5 MB.
PICTURE_BYTES = 4_000_000
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
    """The page as text. Titles and texts are escaped, so that a shop's HTML stays words."""
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
    thumbnails = Thumbnails(PICTURE_BYTES)
    users, legend = view.user_views(data.users, thumbnails)
    neighbors = view.neighbor_views(data.neighbors, thumbnails)
    return environment.get_template("report.html.j2").render(
        data=data,
        tiles=view.tiles(data),
        users=users,
        legend=legend,
        neighbors=neighbors,
        fits=view.fit_views(data.metrics),
        funnel=view.bars((stage.stage, stage.rows, view.count(stage.rows), stage.note) for stage in data.funnel),
        seconds=view.bars((job, s, view.duration(s) if s > 0 else "skipped", "") for job, s in data.seconds.items()),
        num_raw=NUM_RAW_CHARACTERS,
    )


def shorten(text: str, length: int) -> str:
    """At most `length` characters; a cut shows as an ellipsis."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
