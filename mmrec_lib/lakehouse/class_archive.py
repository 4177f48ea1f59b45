"""Java's classes of a small run in one archive, so that a session does not load thousands of them one by one.

Application class-data sharing, JEP 350 (Java 13 and newer). Java itself checks that an archive was made by the same
Java and the same jars, and does without it where it was not.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pyspark

from mmrec_lib.lakehouse.java import java_binary

# Java's word on an archive that does not fit is for nobody: it would stand among the output of a job.
_QUIET = "-Xlog:cds=off -Xlog:cds+dynamic=off -Xlog:class+path=off"
_NAME = "mmrec-classes-{}.jsa"


def archive_path() -> Path:
    """Place of the archive for this Java and these jars, beside the jars.

    Raises:
        OSError: When Java cannot be run.
    """
    jars = sorted((jar.name, jar.stat().st_size) for jar in (_folder() / "jars").glob("*.jar"))
    java = subprocess.run([java_binary(), "-version"], capture_output=True, text=True, timeout=60, check=False).stderr
    key = hashlib.sha256(json.dumps([java, jars]).encode()).hexdigest()[:16]
    return _folder() / _NAME.format(key)


def known_archives() -> list[Path]:
    """Every archive that was made here, whatever Java and jars it is for."""
    return sorted(_folder().glob(_NAME.format("*")))


def archive_options() -> list[str]:
    """Java's options to use the archive; none where there is none."""
    archives = known_archives()
    return [f"-XX:SharedArchiveFile={archives[-1]}", _QUIET] if archives and " " not in str(archives[-1]) else []


def archive_making_options(path: Path) -> list[str]:
    """Java's options to write an archive when it ends."""
    return [f"-XX:ArchiveClassesAtExit={path}", _QUIET]


def _folder() -> Path:
    return Path(pyspark.__file__).parent
