"""Java: Spark needs 17 or newer; say so before Spark does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from mmrec_lib.errors import MachineError

MIN_JAVA = 17
_HINT = (
    f"Install a JDK or JRE of version {MIN_JAVA} or newer (Debian: openjdk-17-jre-headless) or point JAVA_HOME at one."
)


def check_java() -> int:
    """Major version of the Java that Spark will start.

    Raises:
        MachineError: When there is no Java, or it is older than 17.
    """
    binary = java_binary()
    try:
        result = subprocess.run([binary, "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MachineError(f"Java: {binary} cannot be run ({error}). {_HINT}") from error
    match = re.search(r'version "(\d+)(?:\.(\d+))?', result.stderr + result.stdout)
    if result.returncode != 0 or match is None:
        raise MachineError(f"Java: {binary} -version did not tell a version. {_HINT}")
    major = int(match.group(1)) if match.group(1) != "1" else int(match.group(2) or 0)
    if major < MIN_JAVA:
        raise MachineError(f"Java: Spark needs version {MIN_JAVA} or newer, but {binary} is version {major}. {_HINT}")
    return major


def java_binary() -> str:
    """The Java that Spark will start.

    Raises:
        MachineError: When there is none.
    """
    home = os.environ.get("JAVA_HOME")
    binary = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if binary is None or not Path(binary).exists():
        where = f"JAVA_HOME is {home}, where there is no bin/java" if home else "there is no `java` on the PATH"
        raise MachineError(f"Java: Spark needs version {MIN_JAVA} or newer, but {where}. {_HINT}")
    return binary


if __name__ == "__main__":
    try:
        check_java()
    except MachineError as error:
        sys.exit(str(error))
