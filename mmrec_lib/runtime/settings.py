"""The whole configuration: one section a room."""

from __future__ import annotations

from pydantic import Field, model_validator

from mmrec_lib.embedding.config import EmbeddingConfig
from mmrec_lib.embedding.word_model_config import WordModelConfig
from mmrec_lib.encoders.config import ModelsConfig
from mmrec_lib.evaluation.config import EvaluationConfig
from mmrec_lib.features.config import FeaturesConfig
from mmrec_lib.generation.config import GenerationConfig
from mmrec_lib.ingest.config import DEFAULT_EVENT_TYPES, EventTypeConfig, IngestConfig, ItemsConfig, MediaConfig
from mmrec_lib.lakehouse.config import MaintenanceConfig, SparkConfig, StoreConfig
from mmrec_lib.listing.config import ListsConfig
from mmrec_lib.location import is_uri
from mmrec_lib.models.alignment.config import AlignmentConfig
from mmrec_lib.models.config import TrainingConfig
from mmrec_lib.opinions.config import OpinionConfig
from mmrec_lib.publishing.exports import ExportConfig
from mmrec_lib.recipes.adapt_config import AdaptationConfig
from mmrec_lib.recipes.config import RecipeConfig
from mmrec_lib.recipes.scorer_config import ScorerConfig
from mmrec_lib.reporting.config import ReportConfig
from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.scoring.config import ScoringConfig
from mmrec_lib.search.config import SearchConfig
from mmrec_lib.section import Section
from mmrec_lib.showing.config import ShowingConfig
from mmrec_lib.tracking.config import TrackingConfig
from mmrec_lib.training.config import PromotionConfig


class Settings(Section):
    """Everything that can be configured; each field is a top-level key of the YAML files."""

    store: StoreConfig = StoreConfig()
    spark: SparkConfig = SparkConfig()
    tracking: TrackingConfig = TrackingConfig()
    ingest: IngestConfig = IngestConfig()
    events: dict[str, EventTypeConfig] = Field(default_factory=lambda: dict(DEFAULT_EVENT_TYPES), min_length=1)
    items: ItemsConfig = ItemsConfig()
    media: MediaConfig = MediaConfig()
    models: ModelsConfig = ModelsConfig()
    embedding: EmbeddingConfig = EmbeddingConfig()
    words: WordModelConfig = WordModelConfig()
    opinion: OpinionConfig = OpinionConfig()
    features: FeaturesConfig = FeaturesConfig()
    alignment: AlignmentConfig = AlignmentConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    promotion: PromotionConfig = PromotionConfig()
    scoring: ScoringConfig = ScoringConfig()
    showing: ShowingConfig = ShowingConfig()
    reranking: RerankingConfig = RerankingConfig()
    lists: ListsConfig = ListsConfig()
    search: SearchConfig = SearchConfig()
    generation: GenerationConfig = GenerationConfig()
    recipe: RecipeConfig = RecipeConfig()
    adaptation: AdaptationConfig = AdaptationConfig()
    scorer: ScorerConfig = ScorerConfig()
    export: ExportConfig = ExportConfig()
    report: ReportConfig = ReportConfig()
    maintenance: MaintenanceConfig = MaintenanceConfig()

    @model_validator(mode="after")
    def _catalogue_mode_names_its_tracking_server(self) -> Settings:
        if self.store.catalog and not self.tracking.tracking_uri:
            raise ValueError(
                "tracking.tracking_uri: catalogue mode needs it, because there is no folder `store.out` for MLflow's "
                "files; on Databricks it is `databricks`"
            )
        return self

    @model_validator(mode="after")
    def _reranking_fits_the_lists(self) -> Settings:
        self.reranking.check_length(self.scoring.k)
        return self

    @model_validator(mode="after")
    def _report_goes_into_a_folder(self) -> Settings:
        if is_uri(self.store.report_folder or self.store.out or ""):
            raise ValueError(
                "store.report_folder: report.html and summary.json need a folder of this machine, such as "
                "/Volumes/…; name one where `store.out` is a URI, or where this is one"
            )
        return self
