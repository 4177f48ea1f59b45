"""Compilation by numba, with files of machine code that later processes load."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numba

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """Compile a function at its first call; it runs without the interpreter's lock; machine code is kept in files.

    The files lie where numba puts them: in `NUMBA_CACHE_DIR`, else beside the source, else in the user's cache folder.
    Where none of these can be written (a read-only installation without a home), in a folder of this user among the
    temporary files; where there is none that others cannot write, machine code is not kept.

    Numba makes it again when the function's own file changes. A kernel that another file's kernels call is part of
    their machine code: who changes it changes their file too, or removes `__pycache__`.
    """
    return _compile(function)


def compiled_fast(function: F) -> F:
    """The same for a function of finite numbers whose sums may be taken in any order."""
    return _compile(function, fastmath=True)


def _compile(function: F, **options: bool) -> F:
    try:
        result: F = numba.njit(cache=True, nogil=True, **options)(function)
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        folder = private_folder(Path(tempfile.gettempdir()))
        if folder is None:
            uncached: F = numba.njit(nogil=True, **options)(function)
            return uncached
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(folder)
        try:
            result = numba.njit(cache=True, nogil=True, **options)(function)
        finally:
            numba.config.CACHE_DIR = before
    return result


def private_folder(parent: Path) -> Path | None:
    """A folder that only this user can write, because code is loaded from it; None where there cannot be one.

    Args:
        parent: A folder that all users share.
    """
    user = os.getuid() if hasattr(os, "getuid") else os.getlogin()
    folder = parent / f"mmrec-numba-{user}"
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
    except OSError:
        return None
    is_own = not hasattr(os, "getuid") or (found.st_uid == user and not found.st_mode & 0o022)
    return folder if stat.S_ISDIR(found.st_mode) and is_own else None
