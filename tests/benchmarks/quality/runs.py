"""One file a protocol, seed and contender, written as soon as it is done: an interrupted benchmark goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

Values = Mapping[str, Mapping[str, Mapping[str, np.ndarray]]]
"""By fit, segment and metric: [users of the segment] values; `users` holds their positions."""


@dataclass(frozen=True)
class RunKey:
    """A protocol, its seed and a contender."""

    protocol: str
    seed: int
    contender: str

    def path(self, out: Path) -> Path:
        """File of this run."""
        return out / "runs" / f"{self.protocol}-seed{self.seed}-{self.contender}.json"


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        inputs: What the result depends on besides the key; a result of other inputs is made anew.
        settings: Settings as chosen.
        num_tried: Settings that were tried; None for the searches of the product.
        seconds: Seconds of the processor for search, fits and evaluation.
        values: Values by user.
        left_out: The reason why it was not fitted; None where it was.
        figures: What else there is to tell, by name.
    """

    inputs: Mapping[str, object]
    settings: Mapping[str, object]
    num_tried: int | None
    seconds: float
    values: Values
    left_out: str | None = None
    figures: Mapping[str, float] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        values = {
            fit: {segment: {name: _plain(array) for name, array in of.items()} for segment, of in segments.items()}
            for fit, segments in self.values.items()
        }
        staging = path.with_suffix(".tmp")
        staging.write_text(json.dumps({**asdict(self), "values": values}) + "\n", encoding="utf-8")
        staging.replace(path)

    @classmethod
    def read(cls, path: Path) -> RunResult:
        """Read what `write` wrote."""
        record = json.loads(path.read_text(encoding="utf-8"))
        values = {
            fit: {segment: {name: np.array(array) for name, array in of.items()} for segment, of in segments.items()}
            for fit, segments in record["values"].items()
        }
        return cls(**{**record, "values": values})


def finished(out: Path, key: RunKey, inputs: Mapping[str, object]) -> RunResult | None:
    """The result of a run that was finished with the same inputs, else None."""
    path = key.path(out)
    if not path.exists():
        return None
    result = RunResult.read(path)
    return result if result.inputs == dict(inputs) else None


def _plain(array: np.ndarray) -> list[float]:
    return array.tolist() if array.dtype.kind in "iu" else np.round(array, 6).tolist()
