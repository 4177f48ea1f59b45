"""The wheel in an empty environment: it holds `mmrec_lib` only, installs with its extras, and a job runs with it.

python -m tests.wheel
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tests.data.tiny import write_tiny_store

PROJECT = Path(__file__).resolve().parent.parent


def run(*command: str | Path, cwd: Path = PROJECT) -> None:
    """Run a command; a failure ends the check."""
    print("+", *command, flush=True)
    subprocess.run([str(part) for part in command], check=True, cwd=cwd)


def main() -> int:
    """Build, look inside, install, run; returns 0."""
    uv = Path(sys.executable).parent / "uv"
    with tempfile.TemporaryDirectory(prefix="mmrec-wheel-") as scratch:
        folder = Path(scratch)
        run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist")
        (wheel,) = (folder / "dist").glob("*.whl")
        tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
        strangers = {top for top in tops if top != "mmrec_lib" and not top.endswith(".dist-info")}
        if strangers:
            raise SystemExit(f"the wheel must hold mmrec_lib only, it also holds {sorted(strangers)}")
        python = folder / "venv" / "bin" / "python"
        run(uv, "venv", "--python", sys.executable, folder / "venv")
        # The lock's versions as constraints (without its hashes), the wheel's own metadata as requirements.
        constraints = folder / "constraints.txt"
        lines = (PROJECT / "requirements.lock").read_text(encoding="utf-8").splitlines()
        constraints.write_text("\n".join(line.rstrip(" \\") for line in lines if "==" in line and line[0] != " "))
        run(uv, "pip", "install", "--quiet", "--python", python, "--constraints", constraints, f"{wheel}[all]")
        run(python, "-m", "mmrec_lib.lakehouse.session")
        write_tiny_store(folder / "landing")
        job = PROJECT / "jobs" / "ingest_landing.py"
        # From another folder, so that only the wheel's mmrec_lib can be found.
        run(python, job, "--set", f"store.data={folder / 'landing'}", f"store.out={folder / 'out'}", cwd=folder)
        if not (folder / "out" / "tables" / "event" / "_delta_log").is_dir():
            raise SystemExit("the job wrote no table event")
    print("the wheel holds mmrec_lib only, and a job runs with it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
