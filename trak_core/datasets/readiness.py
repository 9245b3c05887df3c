"""What a build would refuse, or meet, in data that can be read: found before anything is trained."""

import numpy as np

from trak_core.datasets.rows import counted
from trak_core.datasets.sampling import sampled
from trak_core.errors import InvalidSettingError
from trak_core.modalities import RawData, find_modality


def try_preparing(raw: RawData, seed: int = 0) -> tuple[str, ...]:
    """Makes the examples ready for the model that usually suits them, and gives notes on what that shows.

    Raises:
        EmptyDataError: there is nothing in the examples that such a model could learn from.
        NeedNotMetError: as `Modality.encoding_class`.
    """
    try:
        drawn = sampled(raw, seed=seed)
    except InvalidSettingError as error:
        return (f"As they are, a build refuses these data: {error}",)
    modality = find_modality(raw.modality)
    if not modality.models:
        return ()
    usual = modality.usual_model(drawn.train.contents)
    takes = next(model.takes for model in modality.models if model.name == usual)
    learner = modality.encoding_class(takes) if isinstance(takes, str) else takes
    encoding = learner.learn(drawn.train.contents, raw.name)
    notes = []
    if encoding.has_unknowns:
        for name, split in (("train", drawn.train), ("test", drawn.test)):
            n_unknown = int((np.asarray(encoding.known_share(split.contents)) == 0).sum())
            if n_unknown:
                notes.append(
                    f"{n_unknown:,} of {counted(len(split), f'{name} {modality.noun}')} have no word that the model "
                    f"{usual!r} would know, so they are all alike to it."
                )
    return tuple(notes)
