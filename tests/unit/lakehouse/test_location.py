"""Places of files and tables: a path or a URI, a folder or a catalogue, decided once."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pyarrow.fs
import pytest

from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.lakehouse.table_location import table_location
from mmrec_lib.location import absolute, filesystem_of, is_uri, local_path
from tests.conftest import PROJECT

NO_SESSION: Any = None


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ("/data/shop", "/data/shop"),
        ("shop", "shop"),
        ("file:///data/my%20shop", "/data/my shop"),
        ("file://localhost/data", "/data"),
        ("file://elsewhere/data", None),
        ("s3://bucket/shop", None),
    ],
)
def test_a_place_is_on_this_machine_or_it_is_not(place: str, path: str | None) -> None:
    assert local_path(place) == path
    assert is_uri(place) == ("://" in place)
    if path is not None:
        files, inside = filesystem_of(place)
        assert isinstance(files, pyarrow.fs.LocalFileSystem)
        assert inside == path


def test_a_path_becomes_absolute_and_a_uri_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ada")
    assert absolute("shop") == str(tmp_path / "shop")
    assert absolute("s3://bucket/~shop", expand_home=True) == "s3://bucket/~shop"
    assert absolute("~/shop", expand_home=True) == "/home/ada/shop"
    assert absolute("~/shop") == str(tmp_path / "~" / "shop"), "a file may be called so"


def test_tables_of_a_folder() -> None:
    places = table_location(NO_SESSION, StoreConfig(out="/out/a`b"))
    assert places.identifier("item") == "delta.`/out/a``b/tables/item`"
    assert places.source("item") == places.folder("item") == "/out/a`b/tables/item"
    assert places.root == "/out/a`b/tables"


def test_tables_of_a_catalogue() -> None:
    store = StoreConfig(catalog="my.shop", schema_name="rec", staging="/s", report_folder="/r")
    places = table_location(NO_SESSION, store)
    assert places.identifier("item") == "`my.shop`.`rec`.`item`", "a dot in a name is part of it"
    assert places.source("item") == "my.shop.rec.item"
    assert places.folder("item") is None
    assert places.root == "my.shop.rec"


def test_nobody_else_looks_for_the_sign_of_a_uri() -> None:
    for path in sorted((PROJECT / "mmrec_lib").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare) and isinstance(node.left, ast.Constant) and node.left.value == "://":
                assert path.name == "location.py", f"{path}:{node.lineno}: ask mmrec_lib.location"


def test_the_tables_do_not_ask_again_where_they_lie() -> None:
    source = (PROJECT / "mmrec_lib" / "lakehouse" / "tables.py").read_text(encoding="utf-8")
    assert "store.out" not in source
    assert "store.catalog" not in source
