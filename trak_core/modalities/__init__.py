"""Kinds of examples: images, texts, numbers. What differs between them lies here and nowhere else."""

from trak_core.modalities.dataset import Dataset, Split, prepare
from trak_core.modalities.encoding import Encoding
from trak_core.modalities.modality import Modality
from trak_core.modalities.new_input import Draw, Field, NewInput, NewInputReader, Type, Upload
from trak_core.modalities.raw import RawData, RawSplit, Skipped
from trak_core.modalities.ready_model import ModelLibrary, ReadyModel
from trak_core.modalities.registry import (
    MODALITIES,
    encoding_metadata,
    find_modality,
    read_encoding,
    register_modality,
    seen_in,
)

__all__ = [
    "MODALITIES",
    "Dataset",
    "Draw",
    "Encoding",
    "Field",
    "Modality",
    "ModelLibrary",
    "NewInput",
    "NewInputReader",
    "RawData",
    "RawSplit",
    "ReadyModel",
    "Skipped",
    "Split",
    "Type",
    "Upload",
    "encoding_metadata",
    "find_modality",
    "prepare",
    "read_encoding",
    "register_modality",
    "seen_in",
]
