"""Opening files below a folder: plain files only, never blocking, and never through a link that leads out of it."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_OPEN_FILES = Path("/proc/self/fd")


class OutsideError(PermissionError):
    """Raised when a path leads out of the folder that it must lie in."""


def open_inside(root: str, path: str) -> BinaryIO:
    """Open a plain file below `root` for reading.

    What was opened is checked, not what the path meant a moment before: a link that is exchanged in between is noticed.

    Raises:
        OutsideError: When a link leads out of the folder.
        OSError: When there is no such file, it is no plain file (a pipe, a device, a folder), or it may not be read.
    """
    name = f"{root}/{path}"
    if not stat.S_ISREG(Path(name).stat().st_mode):
        raise OSError(errno.EINVAL, "a plain file is needed, not a pipe, a device or a folder")
    descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        opened = os.fstat(descriptor)
        if not stat.S_ISREG(opened.st_mode):
            raise OSError(errno.EINVAL, "a plain file is needed, not a pipe or a device")
        if not is_inside(root, _real_name(descriptor, name, opened)):
            raise OutsideError(errno.EACCES, "a file in the landing folder is needed, but a link leads out of it")
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def is_inside(root: str, path: str) -> bool:
    """Tell whether a path leads to a place below a folder, links followed."""
    real_root = os.path.realpath(root)
    return os.path.commonpath([real_root, os.path.realpath(path)]) == real_root


def _real_name(descriptor: int, name: str, opened: os.stat_result) -> str:
    """Path of an open file, as the system tells where it does, else looked up and compared."""
    try:
        return str((_OPEN_FILES / str(descriptor)).readlink())
    except OSError:
        real = os.path.realpath(name)
        if not os.path.samestat(Path(real).stat(), opened):
            raise OSError(errno.ESTALE, "the file was exchanged while it was opened") from None
        return real
