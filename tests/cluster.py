"""The tasks of the bundle in an environment like the cluster's: the image's packages, then what the bundle installs.

python -m tests.cluster [--python 3.12] [--without-encoders]

A fresh environment gets the packages of tests/data/databricks-18-ml.txt, then the libraries of each task as the bundle
lists them; tasks with the same libraries share one. Nothing of the image may change by that. Every task's file, and all
that it may import at once or later, must be there, and the tests of decoders and encoders must pass with it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bundle import RESOURCES, deployed_job
from tests.conftest import PROJECT
from tests.imports import reachable

IMAGE = PROJECT / "tests" / "data" / "databricks-18-ml.txt"
# The image's Spark is not a package.
SPARK = "pyspark>=4.1,<4.2"
TESTERS = ("pytest", "pytest-timeout", "hypothesis")
ENCODER_TESTS = ("tests/unit/encoders", "tests/unit/media")
_IMPORT = """
import importlib, importlib.util, json, sys
job, modules = json.loads(sys.argv[1])
spec = importlib.util.spec_from_file_location("task", job)
module = importlib.util.module_from_spec(spec)
sys.modules["task"] = module
spec.loader.exec_module(module)
for name in modules:
    importlib.import_module(name)
import mmrec_lib
print(module.JOB.name, len(modules), "modules of", mmrec_lib.__file__)
"""


def run(*command: str | Path, cwd: Path = PROJECT) -> str:
    """Run a command and return what it printed; a failure shows that and ends the check."""
    print("+", *[" ".join(str(part).split())[:80] for part in command], flush=True)
    parts = [str(part) for part in command]
    # Without the path of whoever started this: the environment's own packages alone.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(parts, check=False, cwd=cwd, env=env, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{done.stdout}\n{parts[0]} ended with status {done.returncode}")
    return done.stdout


def module_name(path: Path) -> str:
    """Dotted name of a file of the library."""
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def main(argv: list[str] | None = None) -> int:
    """Build, install, compare, import, test; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("--python", default="3.12", help="the image's Python: a version that uv finds, or a path")
    parser.add_argument("--without-encoders", action="store_true", help="leave the tests of decoders and encoders out")
    flags = parser.parse_args(argv)
    uv = Path(sys.executable).parent / "uv"
    by_libraries: dict[str, list[Path]] = {}
    for resource in RESOURCES:
        for task in deployed_job(resource, "prod", service_principal="nobody")["tasks"]:
            file = (resource.parent / task["spark_python_task"]["python_file"]).resolve()
            by_libraries.setdefault(json.dumps([str(resource.parent), task["libraries"]]), []).append(file)
    with tempfile.TemporaryDirectory(prefix="mmrec-cluster-") as scratch:
        folder = Path(scratch)
        run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist")
        (wheel,) = (folder / "dist").glob("*.whl")
        for number, (key, files) in enumerate(by_libraries.items()):
            base, libraries = json.loads(key)
            venv = folder / f"venv-{number}"
            python = venv / "bin" / "python"
            run(uv, "venv", "--quiet", "--python", flags.python, venv)
            run(uv, "pip", "install", "--quiet", "--python", python, "-r", IMAGE, SPARK)
            before = set(run(uv, "pip", "freeze", "--quiet", "--python", python).splitlines())
            for library in libraries:
                installed = ["-r", Path(base, library["requirements"])] if "requirements" in library else [wheel]
                run(uv, "pip", "install", "--quiet", "--python", python, *installed)
            after = set(run(uv, "pip", "freeze", "--quiet", "--python", python).splitlines())
            if before - after:
                raise SystemExit(f"the bundle's libraries replace packages of the image: {sorted(before - after)}")
            print("installed beside the image:", *sorted(line.split(" @ ")[0] for line in after - before))
            for file in files:
                modules = sorted(module_name(path) for path in reachable(file) if "mmrec_lib" in path.parts)
                # From another folder, so that only the wheel's library can be found.
                print(run(python, "-c", _IMPORT, json.dumps([str(file), modules]), cwd=folder), end="", flush=True)
            if not flags.without_encoders:
                run(uv, "pip", "install", "--quiet", "--python", python, *TESTERS)
                print(run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *ENCODER_TESTS), flush=True)
    print("every task imports what it needs beside the image, which stays as it is")
    return 0


if __name__ == "__main__":
    sys.exit(main())
