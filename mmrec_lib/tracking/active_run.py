"""MLflow runs that are open: logging metrics, parameters, tags and models."""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.entities.model_registry import ModelVersion

from mmrec_lib.tracking.files import seal
from mmrec_lib.tracking.names import MAX_KEY_CHARS, MAX_PARAM_CHARS, MAX_TAG_CHARS, decode_key, encode_key, shorten
from mmrec_lib.tracking.shipping import ShippedCode, ship_code

FILES_TAG = "mmrec.files"
LOGGED_MODEL_TAG = "mmrec.logged_model"
LONG_TEXTS = "long_texts"
# MLflow nests runs by it.
_PARENT_TAG = "mlflow.parentRunId"


@dataclass(frozen=True)
class ServedModel:
    """A model as MLflow serves it: models-from-code, with the code that serves it and no pickle.

    Attributes:
        name: Name of the logged model, and key of its weights among the artifacts.
        module: Module of the library that defines its class.
        class_name: The class.
        folder: Its weights: safetensors and JSON.
        signature: What it takes and gives.
        example: Example input, shown beside the signature.
        config: Settings that whoever loads it may change, with their defaults.
    """

    name: str
    module: str
    class_name: str
    folder: Path
    signature: Any
    example: Any
    config: Mapping[str, Any] | None = None


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

    @property
    def uri(self) -> str:
        """Its address."""
        return f"models:/{self.name}/{self.version}"


def registered(version: ModelVersion) -> RegisteredModel:
    """A version as MLflow knows it, its tags under their own names."""
    tags = {decode_key(key): value for key, value in dict(version.tags).items()}
    return RegisteredModel(version.name, str(version.version), str(version.run_id), tags)


class RunLog:
    """Writes metrics, parameters and tags of any name and length into a run.

    What MLflow's limits cut is kept whole as a text file of the run, `long_texts/<hash>.txt`.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        """Bind to a run."""
        self._client = client
        self._run_id = run_id

    def key(self, name: str) -> str:
        """A name as a key."""
        return self.text(encode_key(name), MAX_KEY_CHARS)

    def text(self, text: str, limit: int) -> str:
        """A text within a limit; keeps the whole of a longer one."""
        valid = text.encode("utf-8", "backslashreplace").decode("utf-8")
        short = shorten(valid, limit)
        if short.digest is not None:
            self._client.log_text(self._run_id, valid, f"{LONG_TEXTS}/{short.digest}.txt")
        return short.text

    def metrics(self, values: Mapping[str, float], at_ms: int) -> None:
        """Log metrics under one time stamp."""
        found = [Metric(self.key(name), float(value), at_ms, 0) for name, value in values.items()]
        self._client.log_batch(self._run_id, metrics=found)

    def series(self, name: str, values: Sequence[float], at_ms: int) -> None:
        """Log a metric step by step, such as a loss by epoch; steps count from 1."""
        key = self.key(name)
        found = [Metric(key, float(value), at_ms, step) for step, value in enumerate(values, 1)]
        self._client.log_batch(self._run_id, metrics=found)

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters, nested ones with dotted names."""
        found = [Param(self.key(name), self.text(str(value), MAX_PARAM_CHARS)) for name, value in _flatten(values, "")]
        self._client.log_batch(self._run_id, params=found)

    def tags(self, values: Mapping[str, str]) -> dict[str, str]:
        """Tags as MLflow takes them, of runs and of versions."""
        return {self.key(name): self.text(value, MAX_TAG_CHARS) for name, value in values.items()}


class ActiveRun:
    """A run that is open; made by `Registry.run`."""

    def __init__(self, client: MlflowClient, run: Run, model_name: str) -> None:
        """Bind to a run."""
        self._client = client
        self._run = run
        self._model_name = model_name
        self._log = RunLog(client, self.run_id)

    @property
    def run_id(self) -> str:
        """MLflow's id of the run."""
        return str(self._run.info.run_id)

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Log tags of the run."""
        found = [RunTag(key, value) for key, value in self._log.tags(tags).items()]
        self._client.log_batch(self.run_id, tags=found)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters, nested ones with dotted names."""
        self._log.params(params)

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log metrics."""
        self._log.metrics(metrics, int(self._run.info.start_time))

    def log_series(self, name: str, values: Sequence[float]) -> None:
        """Log a metric step by step; steps count from 1."""
        self._log.series(name, values, int(self._run.info.start_time))

    def log_child(self, name: str, params: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Log a finished run nested in this one, such as a trial of a search."""
        parent = {_PARENT_TAG: self.run_id}
        child = self._client.create_run(str(self._run.info.experiment_id), tags=parent, run_name=name)
        log = RunLog(self._client, str(child.info.run_id))
        log.params(params)
        log.metrics(metrics, int(child.info.start_time))
        self._client.set_terminated(str(child.info.run_id))

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

    def register(self, model: ServedModel, tags: Mapping[str, str], folders: tuple[str, ...]) -> str:
        """Log a model and register it.

        Args:
            model: The model.
            tags: Tags of the new version.
            folders: Artifact folders of this run that belong to the version: it is complete only with them.

        Returns:
            The number of the new version.
        """
        import mlflow

        with tempfile.TemporaryDirectory() as scratch:
            code = ship_code(model.module, Path(scratch), model.class_name)
            with _importable(code):
                logged = mlflow.pyfunc.log_model(
                    name=model.name,
                    python_model=str(code.model_file),
                    artifacts={model.name: str(model.folder)},
                    model_config=None if model.config is None else dict(model.config),
                    code_paths=[str(code.folder)],
                    signature=model.signature,
                    input_example=model.example,
                    pip_requirements=list(code.requirements),
                )
        root = str(self._client.get_run(self.run_id).info.artifact_uri)
        files = seal(logged.model_uri, *(f"{root}/{folder}" for folder in folders))
        # Tags come with the version in one step, so that a killed run leaves no version without its fingerprint.
        # MLflow announces versions on stderr, amid the progress lines of the run.
        with contextlib.redirect_stderr(io.StringIO()):
            version = mlflow.register_model(
                logged.model_uri,
                self._model_name,
                tags=self._log.tags({**tags, FILES_TAG: files, LOGGED_MODEL_TAG: logged.model_uri}),
            )
        return str(version.version)


@contextmanager
def _importable(code: ShippedCode) -> Iterator[None]:
    """Let MLflow import the shipped package while it logs the model, and forget it again."""
    place = str(code.folder.parent)
    sys.path.insert(0, place)
    try:
        yield
    finally:
        sys.path.remove(place)
        for name in [n for n in sys.modules if n == code.package or n.startswith(f"{code.package}.")]:
            del sys.modules[name]


def _flatten(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, name)
        else:
            yield name, value
