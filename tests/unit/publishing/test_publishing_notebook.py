"""Settings of a notebook, and what the report says of people's lists, without Spark."""

from __future__ import annotations

from typing import Any

import pytest

from mmrec_lib.publishing.notebook import _setting
from mmrec_lib.publishing.people import _caption, _shares


class Widgets:
    def __init__(self, **values: str) -> None:
        self.values = values

    def text(self, name: str, default: str) -> None:
        self.values.setdefault(name, default)

    def get(self, name: str) -> str:
        return self.values[name]


class Dbutils:
    def __init__(self, widgets: Widgets) -> None:
        self.widgets = widgets


def test_a_widget_wins_over_the_environment_and_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMREC_CATALOG", "environment")
    scope: dict[str, Any] = {"dbutils": Dbutils(Widgets(catalog="widget"))}
    assert _setting(scope, "catalog", "default") == "widget"
    assert _setting(scope, "schema", "default") == "default"


def test_without_widgets_the_environment_wins_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMREC_CATALOG", "environment")
    monkeypatch.delenv("MMREC_SCHEMA", raising=False)
    assert _setting({}, "catalog", "default") == "environment"
    assert _setting({}, "schema", "default") == "default"


def test_shares_count_items_with_a_category_largest_first_then_by_name() -> None:
    rows = [{"item_id": item} for item in ("a", "b", "c", "d", "unknown")]
    shares = _shares(rows, {"a": "toys", "b": "music", "c": "books", "d": "toys"})
    assert list(shares.items()) == [("toys", 0.5), ("books", 0.25), ("music", 0.25)]
    assert _shares(rows, {}) == {}


@pytest.mark.parametrize(
    ("categories", "price", "caption"),
    [
        (["toys", "wood", "third"], 2.5, "toys · wood · 2.50"),
        (None, 0.0, "0.00"),
        (["toys"], None, "toys"),
        ([], None, None),
    ],
)
def test_a_caption_has_two_categories_and_the_price(
    categories: list[str] | None, price: float | None, caption: str | None
) -> None:
    assert _caption({"categories": categories, "price": price}) == caption
