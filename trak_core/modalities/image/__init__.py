"""Images: pixels, pictures of them, files, networks."""

from trak_core.modalities.image.modality import ImageModality
from trak_core.modalities.image.pixels import Pixels

__all__ = ["ImageModality", "Pixels"]
