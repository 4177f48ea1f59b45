"""Packaged models put where every worker reads them: a volume, a mounted folder or a URI.

Such places take whole files only: no renaming of folders, no rights, no writing in the middle of a file. So a model is
made on this machine's disk and copied file by file, its description last. Until then a description without a revision
stands there: it is no model yet, and the folder is known as ours.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from pyarrow import fs

from mmrec_lib.encoders.encoder_config import EncoderConfig
from mmrec_lib.encoders.weights.directory import DESCRIPTION_FILE
from mmrec_lib.encoders.weights.packages import PACKAGES, ModelPackage, prepare_models
from mmrec_lib.errors import EncoderError, MachineError
from mmrec_lib.location import absolute, filesystem_of


def packages_of(encoders: Iterable[EncoderConfig]) -> tuple[ModelPackage, ...]:
    """The packaged models that encoders need; those that bring their own directory or package need none."""
    folders = {folder for encoder in encoders for folder in encoder.directories().values()}
    return tuple(package for package in PACKAGES if package.name in folders)


def missing_models(root: str, packages: Collection[ModelPackage]) -> list[str]:
    """Names of the packaged models that a root does not have in the revision that this version of mmrec makes.

    Raises:
        MachineError: When the root cannot be read.
    """
    try:
        files, folder = _filesystem(root)
        return [package.name for package in packages if not _is_placed(package, files, folder)]
    except (OSError, ValueError) as error:
        raise MachineError(f"Models folder `{root}`: it must be readable, got: {error}. Set models.root.") from None


def place_models(root: str, packages: Collection[ModelPackage], wheel_folder: Path | None = None) -> dict[str, bool]:
    """Make packaged models and put them under a root; does nothing for those that are there.

    Args:
        root: `models.root`, a path or a URI.
        packages: Models to put there.
        wheel_folder: Where wheels are looked for before they are fetched, and kept; None fetches to a temporary folder.

    Returns:
        For each model's name whether it was made now.

    Raises:
        MachineError: When a wheel cannot be fetched, or the root is not readable or writable.
        EncoderError: When a wheel has another hash than the pinned one, its content is not what it should be, or the
            place of a model holds something that mmrec did not make.
    """
    missing = missing_models(root, packages)
    for package in packages:
        if package.name not in missing:
            continue
        _require_own(root, package)
        with tempfile.TemporaryDirectory(prefix="mmrec-models-") as scratch:
            prepare_models(Path(scratch), (package,), wheel_folder)
            try:
                files, folder = _filesystem(root)
                _copy(Path(scratch, package.name), files, f"{folder}/{package.name}", package.name)
            except OSError as error:
                raise MachineError(
                    f"Models folder `{root}`: it must be writable, got: {error}. Set models.root."
                ) from None
    return {package.name: package.name in missing for package in packages}


def _filesystem(root: str) -> tuple[fs.FileSystem, str]:
    files, folder = filesystem_of(absolute(root))
    return files, folder.rstrip("/")


def _is_placed(package: ModelPackage, files: fs.FileSystem, folder: str) -> bool:
    return _description(files, f"{folder}/{package.name}").get("revision") == package.revision


def _description(files: fs.FileSystem, target: str) -> dict[str, Any]:
    """Description of a model directory, empty where there is none."""
    try:
        with files.open_input_stream(f"{target}/{DESCRIPTION_FILE}") as stream:
            description = json.loads(stream.read())
    except (FileNotFoundError, ValueError):
        return {}
    return description if isinstance(description, dict) else {}


def _require_own(root: str, package: ModelPackage) -> None:
    """Raise when a model's place holds something else: its files would be replaced or removed."""
    files, folder = _filesystem(root)
    target = f"{folder}/{package.name}"
    try:
        has_files = bool(files.get_file_info(fs.FileSelector(target, allow_not_found=True)))
        is_own = not has_files or _description(files, target).get("id") == package.name
    except OSError as error:
        raise MachineError(f"Models folder `{root}`: it must be readable, got: {error}. Set models.root.") from None
    if not is_own:
        raise EncoderError(
            f"Model directory `{target}`: it holds something that mmrec did not make, and {package.name} belongs "
            "there. Move it away, or set models.root."
        )


def _copy(model: Path, files: fs.FileSystem, target: str, name: str) -> None:
    """Copy a model directory, replacing an earlier revision; it counts as a model once its description is there."""
    files.create_dir(target, recursive=True)
    with files.open_output_stream(f"{target}/{DESCRIPTION_FILE}") as stream:
        stream.write(json.dumps({"id": name, "revision": None}).encode())
    made = {path.name for path in model.iterdir()}
    for info in files.get_file_info(fs.FileSelector(target)):
        # Files of an earlier revision: a loader must not find two sets of weights.
        if info.type == fs.FileType.File and info.base_name not in made:
            files.delete_file(info.path)
    for file in [*sorted(made - {DESCRIPTION_FILE}), DESCRIPTION_FILE]:
        fs.copy_files(
            str(model / file),
            f"{target}/{file}",
            source_filesystem=fs.LocalFileSystem(),
            destination_filesystem=files,
        )
