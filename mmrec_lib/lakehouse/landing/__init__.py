"""Landing folders: what is in them, which of it is new, and the rows of each piece."""

from mmrec_lib.lakehouse.landing.delivery import Delivery, FileProblem, FoundFile, KnownFile, Split
from mmrec_lib.lakehouse.landing.folder import LandingFolder
from mmrec_lib.lakehouse.landing.names import MEDIA_FOLDERS, format_of, kind_of, vector_name

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
