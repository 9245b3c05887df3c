"""The controls that can be had of what a run holds, without its model."""

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import TrakCoreError
from trak_core.media import texts_of
from trak_core.methods.controls import cosines
from trak_core.methods.relevance import shares_in_common
from trak_core.modalities import MODALITIES, read_encoding
from trak_core.store.media_rows import read_media
from trak_core.store.run import Run

Scores = NDArray[np.float32]


def plain_controls(run: Run) -> dict[str, Scores]:
    """Scores `[n_test, n_train]` of controls by name, none of which looks at a model or at outcomes.

    Left out is what the run does not hold: similarity of inputs where nothing tells how these are made, gradient norms
    where there are no features.
    """
    info, found = run.info, {}
    if info.has_classes:
        found["same_class"] = (run.test_labels[:, None] == run.train_labels[None]).astype(np.float32)
    norms = run.columns(
        "SELECT avg(abs(q) * norm) AS norm FROM features WHERE split = 'train' GROUP BY idx ORDER BY idx"
    )["norm"]
    if len(norms) == info.n_train:
        found["grad_norm"] = _everywhere(norms, info.n_test)
    modality = MODALITIES.get(info.modality)
    if modality is None:
        return found  # of somebody's own that is not known here
    media = {split: list(read_media(run, split).values()) for split in ("train", "test")}
    found["amount"] = _everywhere(modality.amount(media["train"]), info.n_test)
    if modality.has_words and all(any(map(texts_of, part)) for part in media.values()):
        found["lexical_overlap"] = shares_in_common(*modality.words(media["train"], media["test"]))
    encoding = read_encoding(info.provenance.get("encoding"))
    if encoding is not None:
        try:
            train, test = (encoding.inputs(modality.contents(media[split], encoding)) for split in ("train", "test"))
        except TrakCoreError:
            return found  # not all of what they are made of is in the run
        found["input_similarity"] = cosines(*modality.linear_rows(train, test))
    return found


def _everywhere(values: NDArray[np.float64], n_test: int) -> Scores:
    return np.tile(np.asarray(values, dtype=np.float32), (n_test, 1))
