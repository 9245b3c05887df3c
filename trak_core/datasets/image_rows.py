"""Images that come as rows, each with what its file holds, as data."""

from collections.abc import Sequence
from dataclasses import replace

from trak_core.datasets.image_examples import ImageSettings, images_from, read_headers
from trak_core.datasets.placing import Example
from trak_core.errors import EmptyDataError
from trak_core.modalities.raw import LeftOut, RawData


def images_of(
    name: str,
    examples: Sequence[Example],
    source: str,
    notes: Sequence[str],
    size: int | tuple[int, int] | None,
    channels: int | None,
    test_share: float,
    seed: int,
    class_names: Sequence[str] | None = None,
) -> RawData:
    """Examples of images as data; those that cannot be read are left out.

    Args:
        name: of the data.
        examples: in the order of the source; the content of each gives its file when it is called, from any thread.
        source: for messages.
        notes: that there are already.
        size: see `ImageSettings`.
        channels: see `ImageSettings`.
        test_share: see `place`.
        seed: see `place`.
        class_names: see `place`.

    Raises:
        EmptyDataError: no image can be read.
        InvalidDataError: see `place`.
        InvalidSettingError: `size` or `channels` cannot be.
    """
    settings = ImageSettings(size, channels, test_share, seed)
    found, left_out = read_headers(examples)
    if not found:
        raise EmptyDataError(
            f"{source} has no image that can be read ({left_out[0].where}: {left_out[0].why}); give images as PNG or "
            "JPEG."
        )
    raw = images_from(name, source, found, settings, class_names)
    why = {one.where: one.why for one in (*left_out, *raw.left_out)}
    return replace(
        raw,
        left_out=tuple(LeftOut(one.where, why[one.where]) for one in examples if one.where in why),
        notes=(*notes, *raw.notes),
    )
