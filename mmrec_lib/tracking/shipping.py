"""The part of the library that a registered model needs, as a package of its own that travels with the model.

The package is named after the hash of its files and not `mmrec_lib`: a model must be served by the code that it was
fitted with, also where another version of the library is installed or another model is loaded in the same process, and
the part must not stand in the way of the whole library in a process that needs it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mmrec_lib
from mmrec_lib.errors import ModelError

_LIBRARY = "mmrec_lib"
_OWN_NAME = re.compile(rf"\b{_LIBRARY}\b")


@dataclass(frozen=True)
class ShippedCode:
    """Code and requirements that travel with a model.

    Attributes:
        package: Name of the package.
        folder: Folder of the package.
        model_file: The file that MLflow runs to get the model.
        requirements: Public packages that the code imports, at the versions of this environment.
    """

    package: str
    folder: Path
    model_file: Path
    requirements: tuple[str, ...]


def ship_code(entry: str, target: Path, model_class: str = "RankerModel") -> ShippedCode:
    """Copy a module of the library, and what it imports of the library, into a folder.

    Args:
        entry: Name of the module that defines the model and sets it for MLflow.
        target: Folder to write into.
        model_class: Name of the model's class in it, which is made without arguments.

    Raises:
        ModelError: When the code imports a package that is not installed.
    """
    modules, packages = needed_modules(entry)
    texts = {path: path.read_text(encoding="utf-8") for path in modules}
    digest = hashlib.sha256()
    for path, text in sorted(texts.items()):
        digest.update(f"{path.relative_to(_root())}\0{text}\0".encode())
    package = f"mmrec_model_{digest.hexdigest()[:12]}"
    for path, text in texts.items():
        copy = target / package / path.relative_to(_root())
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(_OWN_NAME.sub(package, text), encoding="utf-8")
    model_file = target / "model.py"
    module = entry.removeprefix(f"{_LIBRARY}.")
    model_file.write_text(
        f'"""The model; its code travels with it as `{package}`."""\n\n'
        "from mlflow.models import set_model\n\n"
        f"from {package}.{module} import {model_class}\n\nset_model({model_class}())\n",
        encoding="utf-8",
    )
    return ShippedCode(package, target / package, model_file, pinned(packages))


def needed_modules(entry: str) -> tuple[list[Path], list[str]]:
    """Files of the library that a module needs, itself and the packages on the way to it among them.

    Returns:
        The files, and the names of all other packages that they import, without the standard library; both sorted.
    """
    waiting, files, others = [entry], set[Path](), set[str]()
    while waiting:
        name = waiting.pop()
        path = _file_of(name)
        if path is None:
            continue  # a name inside a module
        if path in files:
            continue
        files.add(path)
        for imported in _imports(path):
            top = imported.split(".")[0]
            if top == _LIBRARY:
                parts = imported.split(".")
                waiting += [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
            elif top not in sys.stdlib_module_names:
                others.add(top)
    return sorted(files), sorted(others)


def pinned(packages: Sequence[str]) -> tuple[str, ...]:
    """Requirements that name the installed version of each package, as a public index knows it.

    Raises:
        ModelError: When a package is not installed.
    """
    providers = importlib.metadata.packages_distributions()
    lines = []
    for package in packages:
        names = providers.get(package, [])
        if not names:
            raise ModelError(f"registered model: its code imports {package}, which is not installed here")
        name = package if package in names else sorted(names)[0]
        lines.append(f"{name}=={importlib.metadata.version(name).split('+')[0]}")
    return tuple(lines)


def _root() -> Path:
    assert mmrec_lib.__file__ is not None
    return Path(mmrec_lib.__file__).parent


def _file_of(module: str) -> Path | None:
    path = _root().parent.joinpath(*module.split("."))
    return next((p for p in (path / "__init__.py", path.with_suffix(".py")) if p.is_file()), None)


def _imports(path: Path) -> Iterator[str]:
    """Absolute names that a file imports anywhere; of `from a import b` both `a` and `a.b`."""
    for node in _run_nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _run_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes of a syntax tree that can run: all but what is there for type checkers only."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        is_for_types = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        waiting += node.orelse if isinstance(node, ast.If) and is_for_types else ast.iter_child_nodes(node)
