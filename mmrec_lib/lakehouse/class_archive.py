"""Java's classes of a small run in one archive, so that a session does not load thousands of them one by one.

Application class-data sharing, JEP 350 (Java 13 and newer). Java itself checks that an archive was made by the same
Java and the same jars, and does without it where it was not.
"""

from __future__ import annotations

from pathlib import Path

import pyspark

# Java's word on an archive that does not fit is for nobody: it would stand among the output of a job.
_QUIET = "-Xlog:cds=off -Xlog:cds+dynamic=off -Xlog:class+path=off"


def archive_path() -> Path:
    """Place of the archive, beside the jars that it holds classes of."""
    return Path(pyspark.__file__).parent / "mmrec-classes.jsa"


def archive_options() -> list[str]:
    """Java's options to use the archive; none where there is none."""
    path = archive_path()
    return [f"-XX:SharedArchiveFile={path}", _QUIET] if path.is_file() and " " not in str(path) else []


def archive_making_options(path: Path) -> list[str]:
    """Java's options to write an archive when it ends."""
    return [f"-XX:ArchiveClassesAtExit={path}", _QUIET]
