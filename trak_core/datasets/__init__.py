"""Readers of people's data; all give one `Dataset`."""

from trak_core.datasets.dataset import Dataset, Split
from trak_core.datasets.digits import load_digits
from trak_core.datasets.docstrings import load_docstrings
from trak_core.datasets.encodings import encoding_facts, read_encoding
from trak_core.datasets.pieces import Pieces, Tokenizer
from trak_core.datasets.pixels import Pixels, read_thumbnails
from trak_core.datasets.preparing import Encoding, prepare
from trak_core.datasets.raw import LeftOut, RawData, RawImages, RawTexts
from trak_core.datasets.tokens import Tokens
from trak_core.datasets.vocabulary import Vocabulary, encode_texts

__all__ = [
    "Dataset",
    "Encoding",
    "LeftOut",
    "Pieces",
    "Pixels",
    "RawData",
    "RawImages",
    "RawTexts",
    "Split",
    "Tokenizer",
    "Tokens",
    "Vocabulary",
    "encode_texts",
    "encoding_facts",
    "load_digits",
    "load_docstrings",
    "prepare",
    "read_encoding",
    "read_thumbnails",
]
