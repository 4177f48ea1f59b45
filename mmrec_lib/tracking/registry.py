"""Runs and registered models: the only code that talks to MLflow."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mmrec_lib.errors import ModelError
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.location import is_uri
from mmrec_lib.tracking.active_run import (
    FILES_TAG,
    LOGGED_MODEL_TAG,
    LONG_TEXTS,
    ActiveRun,
    RegisteredModel,
    RunLog,
    ServedModel,
    registered,
)
from mmrec_lib.tracking.config import TrackingConfig
from mmrec_lib.tracking.files import seal
from mmrec_lib.tracking.local import DATABASE, artifact_place, check_database, is_unfinished, make_database, move_places
from mmrec_lib.tracking.names import MAX_DESCRIPTION_CHARS, decode_key, restore, sqlite_uri

__all__ = [
    "CANDIDATE",
    "CHALLENGER",
    "CHAMPION",
    "FINGERPRINT_TAG",
    "SNAPSHOT_TAG",
    "ActiveRun",
    "RegisteredModel",
    "Registry",
    "ServedModel",
]

CHAMPION = "champion"
CHALLENGER = "challenger"
CANDIDATE = "candidate"
FINGERPRINT_TAG = "mmrec.fit_fingerprint"
SNAPSHOT_TAG = "mmrec.snapshot_id"
"""Tag of a version: the snapshot that it was trained on."""
_FOLDERS_TAG = "mmrec.run_folders"
_IDENTITY_CHARS = 16
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")
_ABSENT_TEXT = re.compile(r"\balias\b.*(?:not found|does not exist)", re.IGNORECASE)


class Registry:
    """The MLflow experiment and registered model of one store."""

    def __init__(self, config: TrackingConfig, store: StoreConfig, *, read_only: bool = False) -> None:
        """Remember where MLflow is; connects on first use.

        Args:
            config: Where MLflow is.
            store: The store, for MLflow in its folder.
            read_only: Change nothing, not even the places of artifacts of a store that was moved.
        """
        self._config = config
        self._store = store
        self._read_only = read_only

    @property
    def model_name(self) -> str:
        """Name of the registered model: the ranker, or of another registry (see `of_model`) its own."""
        return self._config.model_name

    def of_model(self, name: str) -> Registry:
        """The same MLflow with another registered model, in the catalogue and schema of the ranker where it has them.

        Args:
            name: Name of the model, without catalogue and schema.
        """
        place = self.model_name.rpartition(".")[0]
        config = self._config.model_copy(update={"model_name": f"{place}.{name}" if place else name})
        return Registry(config, self._store, read_only=self._read_only)

    @cached_property
    def _database(self) -> Path | None:
        """The database in the store's own folder; None for a server.

        Raises:
            ModelError: When there is neither.
        """
        if self._config.tracking_uri is not None:
            return None
        if self._store.out is None or is_uri(self._store.out):
            raise ModelError(
                "MLflow: without a local OUT folder it has no place of its own. Name one in tracking.tracking_uri."
            )
        return Path(self._store.out) / DATABASE

    @cached_property
    def _client(self) -> MlflowClient:
        # Nobody asked a batch job to report its use of MLflow.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        import mlflow

        uri = str(self._config.tracking_uri)
        if self._database is not None:
            uri = sqlite_uri(str(self._database))
            is_empty = self._is_empty
            if not self._read_only:
                if is_empty:
                    make_database(self._database)
                move_places(self._database)
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(self._config.registry_uri or uri)
        try:
            client = MlflowClient(uri, self._config.registry_uri or uri)
            client.get_experiment_by_name(self._config.experiment)
        except Exception as error:  # MLflow lets errors of SQLAlchemy and of the network through as they are
            told = str(error).strip().splitlines()
            raise ModelError(
                f"MLflow at {uri} does not answer ({told[0] if told else type(error).__name__}). Start it, or name "
                "another in tracking.tracking_uri; a database of another MLflow version needs "
                f"`mlflow db upgrade {uri}`."
            ) from error
        return client

    @property
    def _is_empty(self) -> bool:
        """True when there is no database yet, or one without anything in it: reading must not make one."""
        if self._database is None or "_client" in self.__dict__:
            return False
        if self._database.exists():
            check_database(self._database)
        return is_unfinished(self._database)

    @cached_property
    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(self._config.experiment)
        if found is not None:
            return str(found.experiment_id)
        location = None if self._database is None else artifact_place(str(self._database.parent))
        return str(self._client.create_experiment(self._config.experiment, artifact_location=location))

    # versions

    def by_fingerprint(self, fingerprint: str) -> RegisteredModel | None:
        """The version that was registered for a fit, if there is one and all its files are there."""
        found = next((m for m in self.versions() if m.tags.get(FINGERPRINT_TAG) == fingerprint), None)
        return found if found is not None and self.is_intact(found) else None

    def versions(self) -> list[RegisteredModel]:
        """All versions, newest first."""
        if self._is_empty:
            return []
        found = self._client.search_model_versions(f"name = '{self.model_name}'")
        return sorted((registered(v) for v in found), key=lambda m: int(m.version), reverse=True)

    def newest(self) -> RegisteredModel | None:
        """The candidate: what the last training ended with, which may have been registered long before.

        A registry that knows no candidate was written by an earlier version, where it was the version registered last.
        """
        return self.by_alias(CANDIDATE) or next(iter(self.versions()), None)

    def by_alias(self, alias: str) -> RegisteredModel | None:
        """The version an alias points at, or None."""
        if self._is_empty:
            return None
        try:
            return registered(self._client.get_model_version_by_alias(self.model_name, alias))
        except MlflowException as error:
            # A registry that does not answer is no empty one: without a champion the gate would let anything pass.
            if not _is_absence(error):
                raise
            return None

    def is_intact(self, model: RegisteredModel) -> bool:
        """Tell if every file that was registered with a version is still there, in its size.

        Of a version that was registered without a note of its files, by hand, any file will do.
        """
        logged = model.tags.get(LOGGED_MODEL_TAG)
        if logged is None:
            return seal(model.uri) != seal()
        folders = [name for name in model.tags.get(_FOLDERS_TAG, "").split(",") if name]
        return model.tags.get(FILES_TAG) == seal(logged, *(self._run_folder(model, name) for name in folders))

    def has_intact(self, version: int | None) -> bool:
        """Tell if there is a version of this number and all its files are there."""
        found = next((m for m in self.versions() if m.version == str(version)), None)
        return found is not None and self.is_intact(found)

    def set_alias(self, alias: str, version: str) -> None:
        """Point an alias at a version; does nothing when it points there already."""
        current = self.by_alias(alias)
        if current is None or current.version != version:
            self._client.set_registered_model_alias(self.model_name, alias, version)

    def remove_alias(self, alias: str) -> None:
        """Remove an alias; does nothing when it is not set."""
        if self.by_alias(alias) is not None:
            self._client.delete_registered_model_alias(self.model_name, alias)

    def tag(self, model: RegisteredModel, tags: Mapping[str, str]) -> None:
        """Write tags of a version."""
        for key, value in RunLog(self._client, model.run_id).tags(tags).items():
            self._client.set_model_version_tag(model.name, model.version, key, value)

    def state(self) -> dict[str, str]:
        """Candidate and champion, for jobs that depend on them: the number and what it was fitted on.

        The number alone would not do: a registry that was lost and made again counts from 1.
        """
        return {"newest": _identity(self.newest()), CHAMPION: _identity(self.by_alias(CHAMPION))}

    # runs

    def params(self, model: RegisteredModel) -> dict[str, object]:
        """Parameters of the run that logged a version, under their own names and in full length."""
        stored = dict(self._client.get_run(model.run_id).data.params)
        with tempfile.TemporaryDirectory() as scratch:
            whole = self._long_texts(model, Path(scratch))
        return {decode_key(restore(key, whole)): restore(value, whole) for key, value in stored.items()}

    def table_versions(self, model: RegisteredModel) -> dict[str, int]:
        """Versions of the tables that are inputs of the run of a version, by name."""
        inputs = self._client.get_run(model.run_id).inputs.dataset_inputs
        sources = {entry.dataset.name: json.loads(entry.dataset.source) for entry in inputs}
        return {name: int(source["delta_table_version"]) for name, source in sources.items()}

    def _long_texts(self, model: RegisteredModel, scratch: Path) -> dict[str, str]:
        infos = self._client.list_artifacts(model.run_id, LONG_TEXTS)
        if not infos:
            return {}
        folder = self.artifact_folder(model, LONG_TEXTS, scratch)
        return {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.txt")}

    @contextmanager
    def run(self, name: str, tags: Mapping[str, str]) -> Iterator[ActiveRun]:
        """An MLflow run that ends FINISHED, or FAILED when the block raises."""
        import mlflow

        _ = self._client
        with mlflow.start_run(experiment_id=self._experiment_id, run_name=name) as run:
            active = ActiveRun(self._client, run, self.model_name)
            active.log_tags(tags)
            yield active

    def register(
        self, run: ActiveRun, model_folder: Path, example: Any, tags: Mapping[str, str], folders: tuple[str, ...] = ()
    ) -> RegisteredModel:
        """Log a ranker with the code that serves it and register it as a new version.

        Args:
            run: The open run.
            model_folder: Its weights: safetensors and JSON.
            example: Example input, shown beside the signature.
            tags: Tags of the new version.
            folders: Artifact folders of the run that belong to the version: it is intact only with them.
        """
        from mmrec_lib.models.ranker.pyfunc_file import DEFAULT_CONFIG, signature

        ranker = ServedModel(
            "ranker",
            "mmrec_lib.models.ranker.pyfunc_file",
            "RankerModel",
            model_folder,
            signature(),
            example,
            DEFAULT_CONFIG,
        )
        return self.register_model(run, ranker, tags, folders)

    def register_model(
        self, run: ActiveRun, model: ServedModel, tags: Mapping[str, str], folders: tuple[str, ...] = ()
    ) -> RegisteredModel:
        """Log a model with the code that serves it and register it as a new version.

        Args:
            run: The open run, of this registry.
            model: The model.
            tags: Tags of the new version.
            folders: Artifact folders of the run that belong to the version: it is intact only with them.
        """
        version = run.register(model, {**tags, _FOLDERS_TAG: ",".join(folders)}, folders)
        return registered(self._client.get_model_version(self.model_name, version))

    def artifact_folder(self, model: RegisteredModel, path: str, target: Path) -> Path:
        """Copy an artifact folder of a version's run to a local folder.

        Raises:
            ModelError: When the run has no such artifact.
        """
        try:
            return Path(self._client.download_artifacts(model.run_id, path, str(target)))
        except (MlflowException, OSError) as error:
            raise ModelError(
                f"{model.name} version {model.version}: artifact {path!r} cannot be read ({error}). Run train_ranker: "
                "it makes again what is gone."
            ) from error

    def model_artifact(self, model: RegisteredModel, name: str, target: Path) -> Path:
        """Copy an artifact of a registered pyfunc to a local folder.

        Raises:
            ModelError: When the version has no such artifact.
        """
        import mlflow

        _ = self._client
        try:
            folder = Path(mlflow.artifacts.download_artifacts(model.uri, dst_path=str(target)))
        except (MlflowException, OSError) as error:
            raise ModelError(
                f"{model.name} version {model.version} cannot be read ({error}). Run train_ranker, evaluate_ranker and "
                "promote_ranker: they make again what is gone."
            ) from error
        found = folder / "artifacts" / name
        if not found.is_dir():
            have = sorted(p.name for p in (folder / "artifacts").glob("*"))
            raise ModelError(
                f"{model.name} version {model.version}: there is no artifact {name!r}, only {have}. Run train_ranker, "
                "evaluate_ranker and promote_ranker: they make again what is gone."
            )
        return found

    def log_metrics(self, model: RegisteredModel, metrics: Mapping[str, float]) -> None:
        """Add metrics to the run of a version."""
        RunLog(self._client, model.run_id).metrics(metrics, int(time.time() * 1000))

    def log_artifact(self, model: RegisteredModel, file: Path, folder: str) -> None:
        """Add a file to the run of a version."""
        self._client.log_artifact(model.run_id, str(file), folder)

    def describe(self, model: RegisteredModel, text: str) -> None:
        """Write the description of a version, Markdown; MLflow shows it on the version's page."""
        shown = RunLog(self._client, model.run_id).text(text, MAX_DESCRIPTION_CHARS)
        self._client.update_model_version(model.name, model.version, description=shown)

    def seal_folder(self, model: RegisteredModel, folder: str, tag: str) -> None:
        """Note what an artifact folder of a version's run holds now, as a tag of the version."""
        self.tag(model, {tag: seal(self._run_folder(model, folder))})

    def is_sealed(self, model: RegisteredModel, folder: str, tag: str) -> bool:
        """Tell if an artifact folder holds what `seal_folder` noted."""
        return model.tags.get(tag) == seal(self._run_folder(model, folder))

    def _run_folder(self, model: RegisteredModel, folder: str) -> str:
        return f"{self._client.get_run(model.run_id).info.artifact_uri}/{folder}"


def _is_absence(error: MlflowException) -> bool:
    """Tell if an error says that there is no such model or alias; servers say so by different codes."""
    return error.error_code in _ABSENT or _ABSENT_TEXT.search(str(error)) is not None


def _identity(model: RegisteredModel | None) -> str:
    if model is None:
        return "none"
    return f"{model.version} {model.tags.get(FINGERPRINT_TAG, '')[:_IDENTITY_CHARS]}".rstrip()
