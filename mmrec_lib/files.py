"""Files that are written whole or not at all, and never through a link that somebody planted."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_text_atomic(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all; characters that UTF-8 has no bytes for become question marks.

    The text goes to a new file of a random name, which then takes the place of whatever stood at `path`: a link there
    is replaced, not followed. The file's mode follows the process's umask.

    Args:
        path: File to write; its folder exists.
        text: Its content.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode("utf-8", "replace"))
            file.flush()
            os.fsync(file.fileno())
        # A temporary file is private; what people read follows the usual mask.
        Path(name).chmod(0o666 & ~process_umask())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def process_umask() -> int:
    """The mask of file modes of this process."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
