"""The job adapt_encoder: contents and behaviour → an encoder of the store, released where a gate lets it pass."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

import mmrec_lib.recipes
from mmrec_lib.encoders.config import EncoderConfig, ModelsConfig
from mmrec_lib.encoders.image.config import JointConfig
from mmrec_lib.encoders.image.preprocessing import ImagePreprocessing
from mmrec_lib.encoders.registry import encoder_spec
from mmrec_lib.encoders.runtime.hardware import on_this_machine
from mmrec_lib.encoders.weights.directory import directory_revision, local_directory
from mmrec_lib.errors import ConfigError, RecipeError
from mmrec_lib.features.load import SNAPSHOT_TABLES, load_snapshot
from mmrec_lib.fine_tuning.encoder_gate import MEASURED, RECALL, EncoderGate, refusal
from mmrec_lib.fine_tuning.encoder_release import Verdict, is_release_there, log_encoder, write_verdicts
from mmrec_lib.fine_tuning.material import Material, make_adapter, ranker_blocks, read_material
from mmrec_lib.fine_tuning.ranker_gate import RankerCheck
from mmrec_lib.lakehouse.tables import Lakehouse
from mmrec_lib.location import is_uri
from mmrec_lib.models.config import TrainingConfig
from mmrec_lib.recipes.adapt import TextAdapter
from mmrec_lib.recipes.adapt_config import PAIRS, AdaptationConfig, AdaptedKind
from mmrec_lib.recipes.adapter import Adapter, Floats
from mmrec_lib.recipes.behaviour import Comparison, recalls
from mmrec_lib.recipes.checkpoints import EpochCheckpoints
from mmrec_lib.recipes.encoder_directory import require_own
from mmrec_lib.recipes.epochs import Course
from mmrec_lib.recipes.frozen_layers import encoder_layers
from mmrec_lib.recipes.masked_language import fit_masked_language
from mmrec_lib.recipes.student import fit_student, kept_layers, times_faster
from mmrec_lib.source_version import source_version
from mmrec_lib.tracking.registry import Registry

READS = (*SNAPSHOT_TABLES, "alignment_model", "owner_text", "event", "review", "media_link", "media_asset")
WRITES = ("encoder_adaptation",)


@dataclass(frozen=True)
class _Work:
    """Material and place of a run.

    Attributes:
        config: What is adapted, and how.
        material: What is learned from.
        checkpoints: Folder of the checkpoints.
        identity: Hash of everything that decides the result.
    """

    config: AdaptationConfig
    material: Material
    checkpoints: Path
    identity: str

    def of_step(self, name: str) -> EpochCheckpoints:
        """Checkpoints of a step."""
        return EpochCheckpoints(self.checkpoints / name, self.identity)

    @property
    def items(self) -> range:
        """Numbers of the contents of items."""
        return range(len(self.material.behaviour.item_ids))

    @property
    def learned(self) -> list[int]:
        """Numbers of the contents that may be learned from: items of train, searches and reviews."""
        material = self.material
        return [*material.behaviour.items("train").tolist(), *range(len(self.items), len(material.texts))]

    @property
    def valid(self) -> list[int]:
        """Numbers of the contents that choose the epoch."""
        return [int(number) for number in self.material.behaviour.items("valid")]

    def recalls(self, vectors: Floats, part: str) -> npt.NDArray[np.float64]:
        """Recall of each user's items of a part."""
        return recalls(self.material.behaviour, vectors, part, self.config.k)


def adapt_encoder(
    lakehouse: Lakehouse,
    registry: Registry,
    config: AdaptationConfig,
    models: ModelsConfig,
    weights: Mapping[str, float],
    training: TrainingConfig,
) -> tuple[dict[str, int], str]:
    """Adapt an encoder, compare it with what it was on items that training did not see, and release it or not.

    A run that was killed goes on from the last epoch of its step.

    Args:
        lakehouse: Tables.
        registry: MLflow.
        config: What is adapted, and how.
        models: Where models lie and how they are run.
        weights: Weight of each event type; those of weight 0 are no visit.
        training: Settings of the ranker that the gate asks.

    Returns:
        Counts and a message for job_run.

    Raises:
        RecipeError: When there is too little behaviour, no content can be read, the encoder cannot be adapted, or has
            too few layers for a student, `models.root` is no folder, something else lies where an encoder is to be, or
            there are too few users, or items with a text and an image, for the gate.
        ConfigError: When the encoder is of another kind, or something is asked for that it cannot have.
        NoDataError: When there is no training snapshot.
    """
    base, kind = adapted_encoder(config, models)
    config = config.resolved(kind)
    source, target = _places(config, models, base)
    spec = encoder_spec(base, models)
    preprocessing = None if kind == "text" else ImagePreprocessing.from_directory(source)
    material = read_material(lakehouse, config, weights, kind, preprocessing)
    behaviour = material.behaviour
    check = None
    if config.ranker_margin is not None:
        snapshot = load_snapshot(lakehouse, with_aligner=False)
        check = RankerCheck(snapshot, behaviour.item_ids, config, training, ranker_blocks(config, kind))
    local = on_this_machine(models, cores=torch.get_num_threads())
    torch.set_num_threads(max(local.threads, 1))
    adapter = make_adapter(base, source, config, local.device, material)
    if config.student is not None:
        kept_layers(len(encoder_layers(adapter.model)), config.student)  # Told before anything is trained.
    folder = Path(models.root, f".{config.name}-checkpoints")
    work = _Work(config, material, folder, _identity(config, spec.revision, material))
    gate = EncoderGate(adapter, behaviour, config, check)
    courses = _train(adapter, work)
    is_better = any(course.best_epoch for course in courses.values())
    compared = gate.compare(adapter, is_better=is_better)
    reason = refusal(config, compared, is_better=is_better)
    if not reason:
        adapter.save(target)
    # Without what the encoder cannot read.
    num_pairs = int(adapter.graph(material.graph).nnz)
    num_texts = num_pairs if "behaviour" in config.steps else len(work.learned)
    verdict = Verdict(
        config.target,
        config.method,
        (config.encoder, spec.revision),
        "" if reason else directory_revision(target),
        compared,
        num_texts,
        courses,
        kind=kind,
    )
    params = {"adaptation": config.model_dump(mode="json")}
    log_encoder(registry, verdict, params, target)
    verdicts, told = [verdict], _message(verdict, reason)
    if config.student is not None:
        # What was refused is no teacher.
        teacher = make_adapter(base, source, config, local.device, material) if reason else adapter
        assert isinstance(teacher, TextAdapter)
        student = _distil(teacher, verdict, work, Path(models.root))
        log_encoder(registry, student, params, Path(models.root, student.encoder_id))
        verdicts.append(student)
        told += f"; {_student_message(student, config)}"
    if material.images is not None and material.images.errors:
        told += f"; {material.images.told(by_text=kind == 'joint')}"
    write_verdicts(lakehouse, verdicts)
    shutil.rmtree(folder, ignore_errors=True)
    counts = {
        "items": len(behaviour.item_ids),
        "users": behaviour.visits.shape[0],
        "pairs": num_pairs,
        "epochs": sum(len(course.losses) for course in courses.values()),
        "released": sum(one.is_released for one in verdicts),
    }
    return counts, told


def adapted_encoder(config: AdaptationConfig, models: ModelsConfig) -> tuple[EncoderConfig, AdaptedKind]:
    """The encoder that is adapted, and its kind.

    Raises:
        ConfigError: When there is none of that name, or it is of another kind.
    """
    base = models.chosen(config.encoder, "adaptation.encoder", PAIRS)
    if isinstance(base, JointConfig) and base.text_directory is not None:
        raise ConfigError(
            f"adaptation.encoder: a joint encoder with two towers that were trained together (CLIP, SigLIP) is needed, "
            f"got `{config.encoder}`, which names a text_directory: a space that ConSE makes of a text model and a "
            "classifier without training. Adapt a text encoder and an image encoder."
        )
    return base, next(kind for kind in PAIRS if kind == base.kind)


def are_releases_there(lakehouse: Lakehouse, config: AdaptationConfig, models: ModelsConfig) -> bool:
    """Tell if the directories of the adapted encoder and its student hold what was released last, if anything was."""
    config = config.resolved(adapted_encoder(config, models)[1])
    names = [name for name in (config.name, config.student_name) if name is not None]
    return all(is_release_there(lakehouse, name, models.root) for name in names)


def _places(config: AdaptationConfig, models: ModelsConfig, base: EncoderConfig) -> tuple[Path, Path]:
    """Directories of the encoder as it is and of the adapted one.

    Raises:
        RecipeError: When nothing may be written there.
    """
    if is_uri(models.root):
        raise RecipeError(
            f"Adaptation `{config.name}`: a local or mounted folder is needed to write models to, got "
            f"`{models.root}`. Set models.root."
        )
    source = local_directory(models.root, base.directories()["directory"])
    for name, key in ((config.name, "adaptation.name"), (config.student_name, "adaptation.student.name")):
        if name is None:
            continue
        if source.resolve() == Path(models.root, name).resolve():
            raise RecipeError(
                f"Adaptation `{name}`: another name than that of the encoder's own directory is needed ({key}), "
                "because the encoder stays as it is."
            )
        require_own(Path(models.root, name), name)
    return source, Path(models.root, config.target)


def _identity(config: AdaptationConfig, revision: str, material: Material) -> str:
    assert mmrec_lib.recipes.__file__ is not None
    code = source_version(Path(mmrec_lib.recipes.__file__).parent.rglob("*.py"))
    behaviour = material.behaviour
    told: list[object] = [config.model_dump(mode="json"), revision, code, behaviour.contents, material.pairs]
    told.append(material.images_of_contents)
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode("utf-8", "surrogatepass"))
    visits = behaviour.visits
    for array in (visits.indptr, visits.indices, behaviour.parts):
        digest.update(np.asarray(array, np.int64).tobytes())
    return digest.hexdigest()[:16]


def _train(adapter: Adapter, work: _Work) -> dict[str, Course]:
    """Take the steps in their order; each begins with what the one before it ended with."""
    courses = dict[str, Course]()
    behaviour, texts = work.material.behaviour, work.material.texts
    seen = np.concatenate([behaviour.items("train"), behaviour.items("valid")])

    def validate() -> float:
        vectors = np.zeros((len(work.items), adapter.dim), np.float32)
        vectors[seen] = adapter.encode(seen.tolist())
        return float(work.recalls(vectors, "valid").mean())

    for number, step in enumerate(work.config.steps):
        if number:
            adapter.renew()
        if step == "masked_language":
            assert isinstance(adapter, TextAdapter)
            learned, valid = (
                list(dict.fromkeys(texts[number] for number in numbers)) for numbers in (work.learned, work.valid)
            )
            courses[step] = fit_masked_language(adapter, learned, valid, work.of_step(step))
        else:
            courses[step] = adapter.fit(work.material.graph, validate, work.of_step(step))
    return courses


def _distil(teacher: TextAdapter, verdict: Verdict, work: _Work, root: Path) -> Verdict:
    """Make a student of an encoder, and release it where it finds nearly as much."""
    config = work.config
    assert config.student is not None and config.student_name is not None
    student = fit_student(
        teacher, work.material.texts, work.learned, work.valid, config.student, work.of_step("student")
    )
    before, after = (work.recalls(one.encode(work.items), "test") for one in (teacher, student.encoder))
    compared = Comparison.of(before, after, config.seed)
    faster = times_faster(teacher, student.encoder, work.material.behaviour.contents)
    base = (verdict.encoder_id, verdict.revision) if verdict.is_released else verdict.base
    revision = ""
    if compared.diff_low > -config.student.margin:
        student.save(root / config.student_name, base[0])
        revision = directory_revision(root / config.student_name)
    return Verdict(
        config.student_name,
        "distillation",
        base,
        revision,
        {(RECALL, config.k): compared},
        len(work.learned),
        {"student": student.course},
        faster,
    )


def _message(verdict: Verdict, reason: str) -> str:
    told = f"{verdict.method}: " + "; ".join(
        f"{metric}@{k} of {MEASURED[metric]} {one.interval}" for (metric, k), one in verdict.compared.items()
    )
    if reason:
        return f"{told}: not released, {reason}"
    released = f"{told}: released as `{verdict.encoder_id}`, revision {verdict.revision}"
    return f"{released}; name it in embedding.encode to use it"


def _student_message(verdict: Verdict, config: AdaptationConfig) -> str:
    assert config.student is not None
    (((_, k), one),) = verdict.compared.items()
    told = (
        f"student of `{verdict.base[0]}` with {config.student.num_layers} layers, {verdict.times_faster:.1f} times "
        f"faster: recall@{k} {one.interval}"
    )
    if verdict.is_released:
        return f"{told}: released as `{verdict.encoder_id}`, revision {verdict.revision}"
    return f"{told}: not released, it may lose more than {config.student.margin:g} (adaptation.student.margin)"
