"""Settings of the store, the Spark session and maintenance."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from mmrec_lib.location import absolute
from mmrec_lib.safe_text import holds_secret
from mmrec_lib.section import Section


class StoreConfig(Section):
    """One store: a folder (path mode) or a schema of a catalogue (catalogue mode).

    Attributes:
        data: Landing folder, a local path or a URI.
        out: Output folder of path mode; None in catalogue mode.
        catalog: Catalogue of catalogue mode.
        schema_name: Schema of catalogue mode.
        staging: Folder for runs' temporary files, which workers read and write and other stores may share: each has a
            folder of its own in it. Needed in catalogue mode (a volume); path mode uses `<out>/staging` where none is
            given.
        report_folder: Folder for report.html and summary.json in catalogue mode; path mode uses `out`.
    """

    data: str | None = None
    out: str | None = None
    catalog: str | None = None
    schema_name: str | None = None
    staging: str | None = None
    report_folder: str | None = None

    @field_validator("data", "out", "staging", "report_folder")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        return value if value is None else absolute(value, expand_home=True)

    @field_validator("data", "out", "staging", "report_folder")
    @classmethod
    def _without_secrets(cls, value: str | None) -> str | None:
        # These are kept in store.json, media_asset.uri and the lineage of models, where anybody may read them.
        if value is not None and holds_secret(value):
            raise ValueError(
                "a URI here must hold no password, key or token, because it is kept in tables and shown. Give "
                "credentials by the environment (AWS_ACCESS_KEY_ID, AZURE_STORAGE_KEY, GOOGLE_APPLICATION_CREDENTIALS) "
                "or to Spark by `spark.conf`"
            )
        return value

    @model_validator(mode="after")
    def _one_mode(self) -> StoreConfig:
        if self.catalog or self.schema_name:
            if self.out:
                raise ValueError("store: give either `out` (a folder) or `catalog` and `schema_name`, not both")
            if not (self.catalog and self.schema_name and self.staging and self.report_folder):
                raise ValueError("store: catalogue mode needs `catalog`, `schema_name`, `staging` and `report_folder`")
        return self

    @property
    def staging_root(self) -> str:
        """Folder under which runs keep temporary files."""
        return self.staging if self.staging else f"{self.out}/staging"

    @property
    def publish_root(self) -> str:
        """Folder where the report and the summary go."""
        return self.report_folder if self.report_folder else str(self.out)


class SparkConfig(Section):
    """Settings of the local session; a cluster brings its own.

    Attributes:
        master: Spark master for `python jobs/<name>.py`; None where the platform brings the session.
        remote: Spark Connect URL, such as local[2]; takes the place of master.
        driver_memory: Memory of the local JVM.
        conf: Further Spark settings.
    """

    master: str | None = None
    remote: str | None = None
    driver_memory: str = "3g"
    conf: dict[str, str] = Field(default_factory=dict)


class MaintenanceConfig(Section):
    """Settings of the maintenance job.

    Attributes:
        retain_hours: Table versions of so many last hours stay readable; Delta's own lower bound is 168.
    """

    retain_hours: int = Field(default=168, ge=168)
