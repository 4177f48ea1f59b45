"""Every benchmark finds what it takes from the library, also those that no test runs."""

from __future__ import annotations

import ast
import importlib

import pytest

from tests.conftest import PROJECT

FILES = sorted((PROJECT / "tests" / "benchmarks").rglob("*.py"))


@pytest.mark.parametrize("name", [str(file.relative_to(PROJECT)) for file in FILES])
def test_names_of_the_library_are_there(name: str) -> None:
    tree = ast.parse((PROJECT / name).read_text(encoding="utf-8"))
    wanted = [
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(("mmrec_lib", "tests", "jobs"))
        for alias in node.names
    ]
    missing = []
    for module, attribute in wanted:
        found = importlib.import_module(module)
        if not hasattr(found, attribute):
            try:
                importlib.import_module(f"{module}.{attribute}")
            except ImportError:
                missing.append(f"{module}.{attribute}")
    assert missing == []
