"""Small images at a size that people can look at."""

import io

from PIL import Image


def enlarged(content: bytes, width: int) -> bytes:
    """The image with every pixel as a square of whole pixels, so that it does not blur at that width; PNG bytes.

    Args:
        content: of a stored thumbnail.
        width: that it will be shown at; an image that has nearly as many pixels stays as it is.
    """
    with Image.open(io.BytesIO(content), formats=("PNG", "WEBP", "JPEG")) as image:
        # Twice the width, for screens that have two points to a pixel.
        factor = 2 * width // image.width
        if factor <= 3:
            return content
        buffer = io.BytesIO()
        size = (factor * image.width, factor * image.height)
        image.resize(size, Image.Resampling.NEAREST).save(buffer, "PNG")
        return buffer.getvalue()
