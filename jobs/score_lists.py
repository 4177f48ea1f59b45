"""Job: events and profiles → lists by item and by audience."""

from __future__ import annotations

import sys

from mmrec_lib.config import Section
from mmrec_lib.ingest.config import EventTypeConfig
from mmrec_lib.list_types.run import READS, WRITES, make_lists
from mmrec_lib.listing.config import ListsConfig
from mmrec_lib.runtime.job import Context, Job, Outcome
from mmrec_lib.runtime.main import run_main
from mmrec_lib.showing.config import ShowingConfig
from mmrec_lib.showing.rules_file import rules_version


class Config(Section):
    """Settings of the list types."""

    lists: ListsConfig
    showing: ShowingConfig
    events: dict[str, EventTypeConfig]


def run(context: Context, config: Config) -> Outcome:
    """Replace the slice of the date with the lists of all types that are on."""
    counts = make_lists(context.lakehouse, config.lists, config.showing, config.events)
    return Outcome(counts, "lists: " + ", ".join(f"{number} {name}" for name, number in counts.items()))


def external_versions(context: Context, config: Config) -> dict[str, str]:
    """Version of the rules."""
    return {"rules": rules_version(config.showing)}


JOB = Job(
    name="score_lists",
    summary="writes lists by item and by audience: bought together, continue, trending, popular",
    config=Config,
    reads=READS,
    writes=WRITES,
    run=run,
    external_versions=external_versions,
)

if __name__ == "__main__":
    sys.exit(run_main(JOB))
