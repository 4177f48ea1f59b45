"""The wheel and the registered model as others install them, each in an empty environment.

The wheel holds `mmrec_lib` only, installs with its extras, and a job runs with it. The registered model loads and
answers with the public packages that it names and nothing of this project.

    python -m tests.wheel [--only wheel|model]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tests.data.tiny import write_tiny_store
from tests.registered import small_ranker, write_registered_store

PROJECT = Path(__file__).resolve().parent.parent
UV = Path(sys.executable).parent / "uv"


def run(*command: str | Path, cwd: Path = PROJECT) -> None:
    """Run a command; a failure ends the check."""
    print("+", *command, flush=True)
    subprocess.run([str(part) for part in command], check=True, cwd=cwd)


def fresh_environment(folder: Path, *requirements: str | Path) -> Path:
    """Make an environment with the lock's versions of what is asked for; returns its Python.

    Packages come from uv's cache where it has them all, else from the index.
    """
    python = folder / "venv" / "bin" / "python"
    run(UV, "venv", "--python", sys.executable, folder / "venv")
    # The lock's versions as constraints, without its hashes.
    constraints = folder / "constraints.txt"
    lines = (PROJECT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    constraints.write_text("\n".join(line.rstrip(" \\") for line in lines if "==" in line and line[0] != " "))
    install = [UV, "pip", "install", "--quiet", "--python", python, "--constraints", constraints, *requirements]
    offline = subprocess.run([str(part) for part in (*install, "--offline")], check=False, capture_output=True)
    if offline.returncode != 0:
        run(*install)
    return python


def check_wheel(folder: Path) -> None:
    """Build, look inside, install, run a job."""
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist")
    (wheel,) = (folder / "dist").glob("*.whl")
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    strangers = {top for top in tops if top != "mmrec_lib" and not top.endswith(".dist-info")}
    if strangers:
        raise SystemExit(f"the wheel must hold mmrec_lib only, it also holds {sorted(strangers)}")
    python = fresh_environment(folder, f"{wheel}[all]")
    run(python, "-m", "mmrec_lib.lakehouse.session")
    write_tiny_store(folder / "landing")
    job = PROJECT / "jobs" / "ingest_landing.py"
    # From another folder, so that only the wheel's mmrec_lib can be found.
    run(python, job, "--set", f"store.data={folder / 'landing'}", f"store.out={folder / 'out'}", cwd=folder)
    if not (folder / "out" / "tables" / "event" / "_delta_log").is_dir():
        raise SystemExit("the job wrote no table event")
    print("the wheel holds mmrec_lib only, and a job runs with it")


def check_model(folder: Path) -> None:
    """Register a model, install what it names, load it there and ask it."""
    write_registered_store(folder / "store", small_ranker())
    (model,) = (folder / "store").glob("mlartifacts/models/*/artifacts")
    python = fresh_environment(folder, "--requirements", model / "requirements.txt")
    # -I: neither a working folder nor PYTHONPATH is searched, and this environment has no mmrec.
    command = [str(python), "-I", str(PROJECT / "tests" / "served.py"), str(model)]
    print("+", *command, flush=True)
    result = subprocess.run(command, check=True, cwd=folder, stdout=subprocess.PIPE, text=True)
    told = json.loads(result.stdout.splitlines()[-1])
    if told["library"] or not all(path.startswith(str(model / "code")) for path in told["files"]):
        raise SystemExit(f"the model must be served by the code that travels with it, got {told}")
    if [len(items) for items in told["item_ids"]] != [3, 3]:
        raise SystemExit(f"the model must answer with lists of 3, got {told['item_ids']}")
    print("the registered model answers in an environment of public packages")


def main(argv: list[str] | None = None) -> int:
    """Run the checks; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.wheel", description=__doc__)
    parser.add_argument("--only", choices=("wheel", "model"))
    only = parser.parse_args(argv).only
    for name, check in {"model": check_model, "wheel": check_wheel}.items():
        if only in (None, name):
            with tempfile.TemporaryDirectory(prefix=f"mmrec-{name}-") as scratch:
                check(Path(scratch))
    return 0


if __name__ == "__main__":
    sys.exit(main())
