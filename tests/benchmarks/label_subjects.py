"""Fashion-MNIST and TREC questions as subjects of a label review: data of the benchmarks, never of the product."""

import gzip
import io
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from trak_core.modalities import Dataset, Split
from trak_core.modalities.text.vocabulary import Vocabulary
from trak_core.subjects import Recipe, Subject
from trak_core.tasks import Classification
from trak_core.training import TrainingSettings

__all__ = ["DATA", "FASHION", "TREC"]

DATA = Path(os.environ.get("TRAK_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
CLOTHES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
N_FASHION_TRAIN, N_FASHION_TEST, N_WORDS = 5000, 1000, 2000
WORDS = r"(?u)\b\w+\b"


def _idx(name: str, header: int) -> NDArray[np.uint8]:
    return np.frombuffer(gzip.decompress((DATA / "fashion_mnist" / name).read_bytes())[header:], np.uint8)


def _png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(255 - image.reshape(28, 28)).save(buffer, "PNG")
    return buffer.getvalue()


def _fashion() -> Subject:
    pixels = {name: _idx(f"{name}-images-idx3-ubyte.gz", 16).reshape(-1, 784) for name in ("train", "t10k")}
    labels = {name: _idx(f"{name}-labels-idx1-ubyte.gz", 8).astype(np.int64) for name in pixels}
    train = pixels["train"][:N_FASHION_TRAIN].astype(np.float32) / 255
    mean, deviation = train.mean(), train.std()

    def split(name: str, n: int) -> Split:
        images = pixels[name][:n]
        inputs = ((images.astype(np.float32) / 255 - mean) / deviation).astype(np.float32)
        return Split(inputs, labels[name][:n], [_png(image) for image in images])

    dataset = Dataset("fashion", "image", CLOTHES, split("train", N_FASHION_TRAIN), split("t10k", N_FASHION_TEST))
    # Chosen on other images, the 20,001st to the 25,000th, and other seeds than those that are reported.
    training = TrainingSettings(epochs=20, batch_size=100, learning_rate=0.05, momentum=0.9, weight_decay=0.002)
    return Subject(dataset=dataset, make_model=_network(784, 128, 10), task=Classification(), training=training)


def _trec() -> Subject:
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts: dict[str, list[str]] = {}
    kinds: dict[str, list[str]] = {}
    for name, file in (("train", "train_5500.label"), ("test", "TREC_10.label")):
        lines = (DATA / "trec" / file).read_text(encoding="latin-1").splitlines()
        kinds[name] = [line.split(":", 1)[0] for line in lines]
        texts[name] = [line.split(" ", 1)[1] for line in lines]
    names = tuple(sorted(set(kinds["train"])))
    vectorizer = TfidfVectorizer(max_features=N_WORDS, sublinear_tf=True, token_pattern=WORDS).fit(texts["train"])
    vocabulary = Vocabulary(tuple(vectorizer.get_feature_names_out()), vectorizer.idf_.astype(np.float32))

    def split(name: str) -> Split:
        return Split(
            vocabulary.inputs(texts[name]),
            np.array([names.index(kind) for kind in kinds[name]]),
            texts=texts[name],
        )

    dataset = Dataset("trec", "text", names, split("train"), split("test"), vocabulary)
    training = TrainingSettings(epochs=20, batch_size=64, learning_rate=0.3, momentum=0.9, weight_decay=0.002)
    return Subject(
        dataset=dataset,
        make_model=_network(N_WORDS, 32, len(names)),
        task=Classification("text"),
        training=training,
    )


def _network(n_inputs: int, n_hidden: int, n_classes: int):  # type: ignore[no-untyped-def]
    return lambda: nn.Sequential(nn.Linear(n_inputs, n_hidden), nn.GELU(), nn.Linear(n_hidden, n_classes))


FASHION = Recipe("fashion", "Fashion-MNIST", "5,000 training and 1,000 test images.", _fashion, 5, 128, 50, 2)
TREC = Recipe("trec", "TREC questions", "5,452 training and 500 test questions.", _trec, 5, 128, 50, 2)
