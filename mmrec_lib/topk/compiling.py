"""Compilation by numba, with files of machine code that later processes load."""

from __future__ import annotations

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
    temporary files.
    """
    return _compile(function, numba.njit(cache=True, nogil=True))


def compiled_fast(function: F) -> F:
    """The same for a function of finite numbers whose sums may be taken in any order."""
    return _compile(function, numba.njit(cache=True, nogil=True, fastmath=True))


def _compile(function: F, compile_with_files: Callable[[F], F]) -> F:
    try:
        result: F = compile_with_files(function)
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(private_folder(Path(tempfile.gettempdir())))
        try:
            result = compile_with_files(function)
        finally:
            numba.config.CACHE_DIR = before
    return result


def private_folder(parent: Path) -> Path:
    """A folder that only this user can write: code is loaded from it.

    Args:
        parent: A folder that all users share.
    """
    user = os.getuid() if hasattr(os, "getuid") else os.getlogin()
    folder = parent / f"mmrec-numba-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    is_own = not hasattr(os, "getuid") or (found.st_uid == user and not found.st_mode & 0o022)
    if stat.S_ISDIR(found.st_mode) and is_own:
        return folder
    return Path(tempfile.mkdtemp(prefix="mmrec-numba-", dir=parent))
