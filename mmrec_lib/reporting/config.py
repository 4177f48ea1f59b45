"""Settings of the report."""

from __future__ import annotations

from pydantic import Field

from mmrec_lib.section import Section


class ExplanationConfig(Section):
    """Shares of modalities in the lists that the report shows.

    Each combination of modalities fits the sources that use content again, so it is done in stores up to a size.

    Attributes:
        max_items: Items of the store up to which shares of modalities are told; 0 does without.
        max_pairs: User-item pairs of the snapshots up to which they are told.
        max_modalities: Modalities up to which they are told; each doubles the time.
    """

    max_items: int = Field(default=1_000, ge=0)
    max_pairs: int = Field(default=100_000, ge=0)
    max_modalities: int = Field(default=7, ge=0)


class ReportConfig(Section):
    """Settings of the report: how much it shows.

    Attributes:
        num_users: Users whose lists are shown.
        num_items: Items whose neighbours are shown.
        num_lists: Lists of each type that is not made for one user.
        num_texts: Texts for people that are shown with their facts.
        num_findings: Contradictory contents and near-duplicates of each kind that are shown, the clearest first.
        num_spoken: Spoken reviews whose transcripts are shown.
        introduction: A sentence or two about the data, shown on top.
        explanations: Shares of modalities.
    """

    num_users: int = Field(default=6, ge=0)
    num_items: int = Field(default=6, ge=0)
    num_lists: int = Field(default=2, ge=0)
    num_texts: int = Field(default=50, ge=0)
    num_findings: int = Field(default=5, ge=0)
    num_spoken: int = Field(default=5, ge=0)
    introduction: str = ""
    explanations: ExplanationConfig = ExplanationConfig()
