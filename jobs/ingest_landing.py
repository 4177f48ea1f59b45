"""Job: landing files → bronze."""

from __future__ import annotations

import hashlib
import sys

from mmrec_lib.config import Section
from mmrec_lib.contracts.runs import DATA_QUALITY_RESULT
from mmrec_lib.errors import ConfigError
from mmrec_lib.ingest.config import EventTypeConfig, IngestConfig, ItemsConfig, LandingConfig, MediaConfig
from mmrec_lib.ingest.run import READS, ingest
from mmrec_lib.lakehouse.landing import LandingFolder
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import run_main


class Config(Section):
    """What the ingest accepts; the fields of `LandingConfig`."""

    ingest: IngestConfig
    events: dict[str, EventTypeConfig]
    items: ItemsConfig
    media: MediaConfig


def landing_folder(context: Context) -> LandingFolder:
    """The landing folder of the store."""
    data = context.lakehouse.store.data
    if data is None:
        raise ConfigError("config key `store.data` is not set: name the landing folder.")
    return LandingFolder(data)


def run(context: Context, config: Config) -> Outcome:
    """Ingest what is new or changed in the landing folder."""
    summary = ingest(context.lakehouse, landing_folder(context), LandingConfig(**dict(config)))
    run_id = f"{context.run_id}-ingest_landing"
    rows = [(run_id, c.record_kind, c.check_name, c.value, c.threshold, c.passed) for c in summary.checks]
    frame = context.lakehouse.spark.createDataFrame(rows, DATA_QUALITY_RESULT.input_schema)
    context.lakehouse.merge("data_quality_result", frame)
    totals = {what: sum(n for key, n in summary.counts.items() if key.endswith(f".{what}")) for what in ("read", "quarantined")}
    return Outcome(summary.counts, f"{totals['read']} records and media read, {totals['quarantined']} quarantined")


def outside(context: Context, config: Config) -> dict[str, str]:
    """State of the landing folder: paths, sizes and times of its files."""
    files = sorted((file.path, file.bytes_len, file.modified_us) for file in landing_folder(context).files())
    return {"landing": hashlib.sha256(repr(files).encode()).hexdigest()}


JOB = Job(
    name="ingest_landing",
    summary="reads new and changed landing files and media",
    config=Config,
    reads=("landing:files",),
    writes=READS,
    run=run,
    outside=outside,
)

if __name__ == "__main__":
    sys.exit(run_main(JOB))
