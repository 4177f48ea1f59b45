"""Landing folders: what is in them, which of it is new, and the rows of each piece."""

from mmrec_lib.ingest.landing.delivery import Delivery, FileProblem, FoundFile, KnownFile, Split
from mmrec_lib.ingest.landing.folder import LandingFolder
from mmrec_lib.ingest.landing.names import MEDIA_FOLDERS, format_of, kind_of, vector_name

__all__ = [
    "MEDIA_FOLDERS",
    "Delivery",
    "FileProblem",
    "FoundFile",
    "KnownFile",
    "LandingFolder",
    "Split",
    "format_of",
    "kind_of",
    "vector_name",
]
