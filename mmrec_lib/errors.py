"""The errors that mmrec raises: one root, each a sentence with the subject, the rule, what came and a hint."""

from __future__ import annotations

from mmrec_lib.safe_text import for_people


class MmrecError(Exception):
    """Root of every error that a user of mmrec can cause or must know about.

    Its message may be shown to anybody: secrets in it are masked and control characters are visible.
    """

    def __init__(self, *parts: object) -> None:
        """Keep the message as it may be shown."""
        super().__init__(*(for_people(part) if isinstance(part, str) else part for part in parts))


class ConfigError(MmrecError):
    """Raised when a configuration key is unknown, missing or has an impossible value."""


class MachineError(MmrecError):
    """Raised when the machine lacks something: Java, memory, disk space, a model directory, a writable folder."""


class InterruptedRunError(MmrecError):
    """Raised when somebody or the scheduler ended a run (Ctrl-C, SIGTERM)."""


class UnexpectedError(MmrecError):
    """Raised in place of an error that nobody foresaw; the error itself is its cause."""


class StoreError(MmrecError):
    """Raised when an output store is locked, belongs to other data or has another format version."""


class ContractError(MmrecError):
    """Raised when a job reads or writes a table that it does not declare: a fault of the program, not of its user."""


class LandingError(MmrecError):
    """Raised when a landing folder is missing or holds no known source."""


class DataQualityError(MmrecError):
    """Raised when more records than the configured share had to be quarantined."""


class NoDataError(MmrecError):
    """Raised when a job finds no data to work on, such as an as-of date before the first event."""


class LeakageError(MmrecError):
    """Raised when data of a fit hold what only the part that it is evaluated on may know."""


class EncoderError(MmrecError):
    """Raised when an encoder cannot be loaded, or its directory is not what its config says."""


class ModelError(MmrecError):
    """Raised when a ranker cannot be fitted, loaded or applied."""


class RecipeError(MmrecError):
    """Raised when a recipe cannot be trained on its labels, or a trained one is not what its config says."""


class ShowingError(MmrecError):
    """Raised when rules of what may be shown are wrong, contradict each other or would remove too much."""


class PublishingError(MmrecError):
    """Raised when new lists break a rule or a bound, so that they must not take the place of the published ones."""
