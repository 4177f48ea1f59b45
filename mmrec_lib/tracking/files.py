"""Content of artifact folders as one short text, by which a later run sees whether all of it is still there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

# MLflow and Python write these into a model's own folder when somebody loads it from there.
_NOT_OURS = ("registered_model_meta", "__pycache__")


def seal(*folders: str) -> str:
    """Number of files under some artifact folders and a hash of their names and sizes.

    Args:
        folders: Addresses that MLflow understands, such as models:/m-1234; one that is not there holds no files.
    """
    digest, count = hashlib.sha256(), 0
    for folder in folders:
        for path, size in sorted(_files(folder)):
            digest.update(f"{path}\0{size}\0".encode())
            count += 1
    return f"{count} files, {digest.hexdigest()[:32]}"


def _files(folder: str) -> Iterator[tuple[str, int]]:
    try:
        repository = get_artifact_repository(folder)
    except MlflowException as error:
        if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            return
        raise
    waiting: list[str | None] = [None]
    while waiting:
        for info in repository.list_artifacts(waiting.pop()) or ():
            if info.path.rsplit("/", 1)[-1] in _NOT_OURS:
                continue
            if info.is_dir:
                waiting.append(info.path)
            else:
                yield info.path, int(info.file_size or 0)
