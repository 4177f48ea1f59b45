"""Runs and registered models: the only code that talks to MLflow."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Param, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from mmrec_lib.errors import ModelError
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.tracking.config import TrackingConfig

CHAMPION = "champion"
CHALLENGER = "challenger"
CANDIDATE = "candidate"
FINGERPRINT_TAG = "mmrec.fit_fingerprint"
_MAX_PARAM_CHARS = 6000


@dataclass(frozen=True)
class RegisteredModel:
    """One version of the registered ranker.

    Attributes:
        name: Registered name.
        version: Version number, as text.
        run_id: MLflow run that logged it.
        tags: Tags of the version.
    """

    name: str
    version: str
    run_id: str
    tags: Mapping[str, str]


class Registry:
    """The MLflow experiment and registered model of one store."""

    def __init__(self, config: TrackingConfig, store: StoreConfig) -> None:
        """Remember where MLflow is; connects on first use."""
        self._config = config
        self._store = store

    @property
    def model_name(self) -> str:
        """Name of the registered ranker."""
        return self._config.model_name

    @cached_property
    def _client(self) -> MlflowClient:
        # Nobody asked a batch job to report its use of MLflow.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        import mlflow

        uri = self._config.tracking_uri or f"sqlite:///{self._store.out}/mlflow.db"
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(self._config.registry_uri or uri)
        return MlflowClient(uri, self._config.registry_uri or uri)

    @cached_property
    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(self._config.experiment)
        if found is not None:
            return str(found.experiment_id)
        location = f"{self._store.out}/mlartifacts" if self._config.tracking_uri is None else None
        return str(self._client.create_experiment(self._config.experiment, artifact_location=location))

    # versions

    def by_fingerprint(self, fingerprint: str) -> RegisteredModel | None:
        """The version that was registered for a fit, if there is one."""
        return next((m for m in self.versions() if m.tags.get(FINGERPRINT_TAG) == fingerprint), None)

    def versions(self) -> list[RegisteredModel]:
        """All versions, newest first."""
        found = self._client.search_model_versions(f"name = '{self.model_name}'")
        return sorted((_registered(v) for v in found), key=lambda m: int(m.version), reverse=True)

    def newest(self) -> RegisteredModel | None:
        """The candidate: what the last training ended with, which may have been registered long before.

        A registry that knows no candidate was written by an earlier version, where it was the version registered last.
        """
        return self.by_alias(CANDIDATE) or next(iter(self.versions()), None)

    def by_alias(self, alias: str) -> RegisteredModel | None:
        """The version an alias points at, or None."""
        try:
            return _registered(self._client.get_model_version_by_alias(self.model_name, alias))
        except MlflowException:
            # MLflow raises for an unknown model and for an unknown alias alike.
            return None

    def set_alias(self, alias: str, version: str) -> None:
        """Point an alias at a version; does nothing when it points there already."""
        current = self.by_alias(alias)
        if current is None or current.version != version:
            self._client.set_registered_model_alias(self.model_name, alias, version)

    def remove_alias(self, alias: str) -> None:
        """Remove an alias; does nothing when it is not set."""
        if self.by_alias(alias) is not None:
            self._client.delete_registered_model_alias(self.model_name, alias)

    def tag(self, version: str, tags: Mapping[str, str]) -> None:
        """Write tags of a version."""
        for key, value in tags.items():
            self._client.set_model_version_tag(self.model_name, version, key, value)

    def state(self) -> dict[str, str]:
        """Candidate and champion, for jobs that depend on them."""
        newest, champion = self.newest(), self.by_alias(CHAMPION)
        return {
            "newest": newest.version if newest else "none",
            CHAMPION: champion.version if champion else "none",
        }

    # runs

    def params(self, model: RegisteredModel) -> dict[str, object]:
        """Parameters of the run that logged a version."""
        return dict(self._client.get_run(model.run_id).data.params)

    @contextmanager
    def run(self, name: str, tags: Mapping[str, str]) -> Iterator[ActiveRun]:
        """An MLflow run that ends FINISHED, or FAILED when the block raises."""
        import mlflow

        _ = self._client
        with mlflow.start_run(experiment_id=self._experiment_id, run_name=name, tags=dict(tags)) as run:
            yield ActiveRun(self._client, run, self.model_name)

    def artifact_folder(self, model: RegisteredModel, path: str, target: Path) -> Path:
        """Copy an artifact folder of a version's run to a local folder.

        Raises:
            ModelError: When the run has no such artifact.
        """
        try:
            return Path(self._client.download_artifacts(model.run_id, path, str(target)))
        except (MlflowException, OSError) as error:
            raise ModelError(
                f"{model.name} version {model.version}: artifact {path!r} cannot be read ({error})."
            ) from error

    def model_artifact(self, model: RegisteredModel, name: str, target: Path) -> Path:
        """Copy an artifact of a registered pyfunc to a local folder.

        Raises:
            ModelError: When the version has no such artifact.
        """
        import mlflow

        _ = self._client
        try:
            folder = Path(
                mlflow.artifacts.download_artifacts(f"models:/{model.name}/{model.version}", dst_path=str(target))
            )
        except (MlflowException, OSError) as error:
            raise ModelError(f"{model.name} version {model.version} cannot be read ({error}).") from error
        found = folder / "artifacts" / name
        if not found.is_dir():
            have = sorted(p.name for p in (folder / "artifacts").glob("*"))
            raise ModelError(f"{model.name} version {model.version}: there is no artifact {name!r}, only {have}.")
        return found

    def log_metrics(self, model: RegisteredModel, metrics: Mapping[str, float]) -> None:
        """Add metrics to the run of a version."""
        for key, value in metrics.items():
            self._client.log_metric(model.run_id, _metric_key(key), value)

    def log_artifact(self, model: RegisteredModel, file: Path, folder: str) -> None:
        """Add a file to the run of a version."""
        self._client.log_artifact(model.run_id, str(file), folder)


class ActiveRun:
    """What a training job logs while its run is open."""

    def __init__(self, client: MlflowClient, run: Run, model_name: str) -> None:
        """Made by `Registry.run`."""
        self._client = client
        self._run = run
        self._model_name = model_name

    @property
    def run_id(self) -> str:
        """MLflow's id of the run."""
        return str(self._run.info.run_id)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters, nested ones with dotted names."""
        flat = [Param(key, str(value)[:_MAX_PARAM_CHARS]) for key, value in _flatten(params, "")]
        self._client.log_batch(self.run_id, params=flat)

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log metrics."""
        for key, value in metrics.items():
            self._client.log_metric(self.run_id, _metric_key(key), value)

    def log_input_table(self, name: str, source: str, version: int) -> None:
        """Log a table version as an input dataset of the run."""
        import mlflow

        dataset = mlflow.data.meta_dataset.MetaDataset(
            mlflow.data.delta_dataset_source.DeltaDatasetSource(path=source, delta_table_version=version), name=name
        )
        mlflow.log_input(dataset, context="training")

    def log_folder(self, folder: Path, artifact_path: str) -> None:
        """Log a folder of files."""
        self._client.log_artifacts(self.run_id, str(folder), artifact_path)

    def register(
        self, model_file: Path, model_folder: Path, example: Any, output: Any, tags: Mapping[str, str]
    ) -> RegisteredModel:
        """Log a ranker as a models-from-code pyfunc (no pickle) and register it as a new version.

        Args:
            model_file: The Python file that defines the pyfunc.
            model_folder: Its weights: safetensors and JSON.
            example: Example input, for the signature.
            output: What the model answers to it.
            tags: Tags of the new version.
        """
        import mlflow

        logged = mlflow.pyfunc.log_model(
            name="ranker",
            python_model=str(model_file),
            artifacts={"ranker": str(model_folder)},
            signature=mlflow.models.infer_signature(example, output),
            pip_requirements=["mmrec"],
        )
        # Tags come with the version in one step, so that a killed run leaves no version without its fingerprint.
        # MLflow announces versions on stderr, amid the progress lines of the run.
        with contextlib.redirect_stderr(io.StringIO()):
            version = mlflow.register_model(logged.model_uri, self._model_name, tags=dict(tags))
        return _registered(self._client.get_model_version(self._model_name, version.version))


def _registered(version: ModelVersion) -> RegisteredModel:
    return RegisteredModel(version.name, str(version.version), str(version.run_id), dict(version.tags))


def _metric_key(key: str) -> str:
    """MLflow's metric names allow no `@`."""
    return key.replace("@", "_at_").replace(":", ".")


def _flatten(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, name)
        else:
            yield name, value
