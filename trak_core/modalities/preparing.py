"""From data as they were read to a data set that a model takes."""

from __future__ import annotations

from trak_core.modalities.dataset import Dataset, Split
from trak_core.modalities.encoding import Learner
from trak_core.modalities.raw import RawData, RawSplit
from trak_core.modalities.registry import find_modality


def prepare(raw: RawData, takes: str | Learner | None = None) -> Dataset:
    """The data set that a model takes; what is measured for it is measured on the train examples alone.

    Args:
        raw: as it was read.
        takes: kind of encoding that the model takes, as "pixels" for images, "vocabulary" or "word_ids" for texts; the
            tokenizer of a pretrained model; or None for the usual kind of the modality.

    Raises:
        EmptyDataError: the train examples hold nothing that an encoding could be learnt from.
        InvalidSettingError: the modality of the data is not known here.
        NeedNotMetError: there is no such kind of encoding for these examples.
    """
    modality = find_modality(raw.modality)
    learner: Learner = modality.encoding_class(takes) if isinstance(takes, str) else takes or modality.encodings[0]
    encoding = learner.learn(raw.train.contents, raw.name)

    def split(part: RawSplit) -> Split:
        return Split.of(encoding.inputs(part.contents), part.labels, modality.media(part.contents))

    return Dataset(raw.name, raw.modality, raw.class_names, split(raw.train), split(raw.test), encoding)
