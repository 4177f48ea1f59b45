"""The version of source code: what it does counts, comments, docstrings and layout do not.

Of a file counts its syntax tree, and of a package also the files that are no Python, such as templates. What a file
needs of this library is followed: its imports, also those inside functions, and modules that a text names, such as
`mmrec_lib.media.images:decode_image`, because they are imported by that name later.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_LIBRARY = Path(__file__).parent
_ROOT_NAME = _LIBRARY.name
# In a syntax tree as text.
_IS_OURS = re.compile(rf"{_ROOT_NAME}\b")
_IMPORT = re.compile(r"\bImport\(names=\[(.*?)\]\)")
_IMPORT_FROM = re.compile(rf"\bImportFrom\(module='({_ROOT_NAME}(?:\.\w+)*)', names=\[(.*?)\]")
_ALIAS = re.compile(r"\balias\(name='([\w.]+)'")
_CONSTANT = re.compile(rf"\bConstant\(value='({_ROOT_NAME}(?:\.\w+)*(?::\w+)?)'")
_HOLDS_STATEMENTS = (ast.stmt, ast.excepthandler, ast.match_case)


@dataclass(frozen=True)
class _Source:
    """One file.

    Attributes:
        digest: Of what it does.
        imports: Names that it may import: modules of this library, or names in them.
        named: Those among them that a text names: packages whose other files it may read.
    """

    digest: str
    imports: frozenset[str]
    named: frozenset[str]


def source_version(files: Iterable[Path], *, without: str | None = None) -> str:
    """Hash of some source files and of all that they need of this library.

    The same for the same Python version wherever the files lie; a file that was edited while the process runs counts
    as it is now.

    Args:
        files: Source files, of this library or not.
        without: A package of this library that does not count, nor what only it needs.
    """
    digest = hashlib.sha256()
    for file, content in sorted(needed_sources(files, without=without).items()):
        name = file.relative_to(_LIBRARY).as_posix() if file.is_relative_to(_LIBRARY) else file.name
        digest.update(f"{name}\0{content}\0".encode())
    return digest.hexdigest()


def needed_sources(files: Iterable[Path], *, without: str | None = None) -> dict[Path, str]:
    """Some source files and those of this library that they need, each with the hash of what it does."""
    needed: dict[Path, str] = {}
    waiting = [file.resolve() for file in files]
    while waiting:
        file = waiting.pop()
        if file in needed:
            continue
        if file.suffix != ".py":
            needed[file] = hashlib.sha256(file.read_bytes()).hexdigest()
            continue
        source = _source(file)
        needed[file] = source.digest
        for name in source.imports:
            if without is None or not _is_in(name, without):
                waiting += _files_of(name)
        for name in source.named:
            waiting += _data_of(name)
    return needed


def _is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def _source(path: Path) -> _Source:
    state = path.stat()
    return _read(path, state.st_mtime_ns, state.st_size)


@cache
def _read(path: Path, modified_ns: int, size: int) -> _Source:
    is_collecting = gc.isenabled()
    # The many small nodes of a tree, none of them garbage yet, would be looked through again and again.
    gc.disable()
    try:
        tree = ast.parse(path.read_bytes(), path.name)
        _leave_behaviour(tree)
        text = ast.dump(tree)
    finally:
        if is_collecting:
            gc.enable()
    imports = {name for listed in _IMPORT.findall(text) for name in _ALIAS.findall(listed) if _IS_OURS.match(name)}
    for module, listed in _IMPORT_FROM.findall(text):
        imports.add(module)
        if _is_package(module):
            imports.update(f"{module}.{name}" for name in _ALIAS.findall(listed))
    named = {name.partition(":")[0] for name in _CONSTANT.findall(text)}
    return _Source(hashlib.sha256(text.encode()).hexdigest(), frozenset(imports | named), frozenset(named))


def _leave_behaviour(node: ast.AST) -> None:
    """Take out statements that do nothing: docstrings, those of attributes too, and imports for type checkers."""
    for _, value in ast.iter_fields(node):
        if not isinstance(value, list) or not value or not isinstance(value[0], _HOLDS_STATEMENTS):
            continue
        if isinstance(value[0], ast.stmt):
            # Where nothing else is left, such as in a class that only has a docstring, `pass` says the same.
            value[:] = [statement for statement in value if not _does_nothing(statement)] or [ast.Pass()]
        for inner in value:
            _leave_behaviour(inner)


def _does_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str)
    is_check = isinstance(statement, ast.If) and not statement.orelse and isinstance(statement.test, ast.Name)
    return is_check and statement.test.id == "TYPE_CHECKING"  # type: ignore[attr-defined]


@cache
def _files_of(name: str) -> tuple[Path, ...]:
    """The module of a name, or of the longest part of it that is one, with the packages around it.

    Without the front page of the library: it names what programs use, and no module of the library imports through it.
    """
    files, place = list[Path](), _LIBRARY
    for part in name.split(".")[1:]:
        place = place / part
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if not file.is_file():
            break
        files.append(file)
    return tuple(files)


@cache
def _is_package(name: str) -> bool:
    return _LIBRARY.joinpath(*name.split(".")[1:], "__init__.py").is_file()


@cache
def _data_of(name: str) -> tuple[Path, ...]:
    """Files of a package that are no Python; none where the name is no package."""
    if name == _ROOT_NAME or not _is_package(name):
        return ()
    folder = _LIBRARY.joinpath(*name.split(".")[1:])
    return tuple(path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc"))
