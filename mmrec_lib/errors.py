"""The errors that mmrec raises: one root, each a sentence with the subject, the rule, what came and a hint."""


class MmrecError(Exception):
    """Root of every error that a user of mmrec can cause or must know about."""


class ConfigError(MmrecError):
    """Raised when a configuration key is unknown, missing or has an impossible value."""


class MachineError(MmrecError):
    """Raised when the machine lacks something: Java, a model directory, a writable folder."""


class StoreError(MmrecError):
    """Raised when an output store is locked, belongs to other data or has another format version."""


class LandingError(MmrecError):
    """Raised when a landing folder is missing or holds no known source."""


class DataQualityError(MmrecError):
    """Raised when more records than the configured share had to be quarantined."""


class NoDataError(MmrecError):
    """Raised when a job finds no data to work on, such as an as-of date before the first event."""


class EncoderError(MmrecError):
    """Raised when an encoder cannot be loaded, or its directory is not what its config says."""


class ModelError(MmrecError):
    """Raised when a ranker cannot be fitted, loaded or applied."""
