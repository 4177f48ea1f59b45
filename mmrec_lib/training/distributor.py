"""Training of the second stage in processes that Spark's TorchDistributor starts.

Each process tells in the scratch folder that it ended well, or how it failed: TorchDistributor itself takes a process
that failed for one that ended (its wrapper of torchrun exits with 0), and names none.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from pyspark.sql import SparkSession

import mmrec_lib
from mmrec_lib.errors import ModelError
from mmrec_lib.models.second_stage.launcher import launched_by
from mmrec_lib.models.second_stage_settings import SecondStageSettings

_TOLD_CHARACTERS = 500


@contextmanager
def trained_by_spark(spark: SparkSession) -> Iterator[None]:
    """Let second stages with `launcher: torch_distributor` be trained by processes that this session starts."""
    with launched_by(TorchDistributorLauncher(spark)):
        yield


class TorchDistributorLauncher:
    """Starts processes by TorchDistributor: on the driver's machine, or with a shared folder as tasks of Spark."""

    def __init__(self, spark: SparkSession) -> None:
        """Bind to a session, which must be the active one of its thread."""
        self._spark = spark

    @contextmanager
    def scratch(self, settings: SecondStageSettings) -> Iterator[Path]:
        """A temporary folder: of this machine, or in the shared folder of the settings.

        Raises:
            ModelError: When executors on other machines have no shared folder, or it is not there.
        """
        shared = settings.shared_folder
        if shared is None:
            master = self._spark.conf.get("spark.master", "")
            if master != "local" and not str(master).startswith("local["):
                raise ModelError(
                    f"second stage: training.second_stage.launcher = torch_distributor on spark.master = {master} "
                    "needs training.second_stage.shared_folder, a folder that the driver and all executors see, such "
                    "as a mounted volume; launcher: processes trains on the driver's machine alone"
                )
        elif not Path(shared).is_dir():
            raise ModelError(
                f"second stage: training.second_stage.shared_folder = {shared} must be a folder that the driver and "
                "all executors see, and the driver sees none there; mount it or make it"
            )
        with tempfile.TemporaryDirectory(prefix="second-stage-", dir=shared) as folder:
            yield Path(folder)

    def run(self, folder: Path, settings: SecondStageSettings) -> None:
        """Run the processes to their ends; standard output is left to the job.

        Raises:
            ModelError: When one fails, with its last lines; the others are ended.
        """
        from pyspark.ml.torch.distributor import TorchDistributor  # it loads pandas and pyspark.ml

        number, is_local = settings.num_processes, settings.shared_folder is None
        # torchrun gives each process one thread, Spark those of the task's cores.
        is_told = not is_local or "OMP_NUM_THREADS" in os.environ
        threads = None if is_told else max(1, (os.cpu_count() or 1) // number)
        words, error = io.StringIO(), None
        try:
            with redirect_stdout(words):
                distributor = TorchDistributor(num_processes=number, local_mode=is_local, use_gpu=False)
                distributor.run(_task(str(Path(mmrec_lib.__file__).parents[1]), threads), str(folder))
        except Exception as raised:  # of Spark, of pyspark and of what it calls: anything
            error = raised
        _require_good_ends(folder, settings, words.getvalue() if error is None else str(error), error)


def _task(library: str, threads: int | None) -> Callable[[str], None]:
    """A process of the training.

    As an inner function it is pickled by value, so that a worker can tell that it lacks the library.
    """

    def train(folder: str) -> None:
        import os
        import sys
        import traceback
        from pathlib import Path

        rank = os.environ["RANK"]
        if threads is not None:
            os.environ["OMP_NUM_THREADS"] = str(threads)
        try:
            sys.path.append(library)
            from mmrec_lib.models.second_stage.processes import run_rank

            run_rank(Path(folder), int(rank))
        except BaseException:
            Path(folder, f"rank-{rank}.failed").write_text(traceback.format_exc(), encoding="utf-8")
            raise
        Path(folder, f"rank-{rank}.ended").touch()

    return train


def _require_good_ends(folder: Path, settings: SecondStageSettings, words: str, error: Exception | None) -> None:
    """Raise an error that names the processes that failed, the first one first."""
    number = settings.num_processes
    failed = sorted(folder.glob("rank-*.failed"), key=lambda path: path.stat().st_mtime_ns)
    silent = [
        str(rank)
        for rank in range(number)
        if not any((folder / f"rank-{rank}.{end}").exists() for end in ("failed", "ended"))
    ]
    if error is None and not failed and not silent:
        return
    told = [f"rank {path.stem[5:]} failed: {_last(path.read_text(encoding='utf-8'))}" for path in failed]
    if silent:
        shared = settings.shared_folder
        seen = "" if shared is None else f", and at whether their machines see {shared} and have the library"
        told.append(f"rank {', '.join(silent)} ended without a word, killed or not started; look at memory{seen}")
    if not failed:
        told.append(_last(words))
    raise ModelError(
        f"second stage: TorchDistributor with training.second_stage.num_processes = {number}: {'; '.join(told)}"
    ) from error


def _last(words: str) -> str:
    return words.strip()[-_TOLD_CHARACTERS:]
