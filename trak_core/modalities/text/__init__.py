"""Texts: vocabularies, ids of words, subword tokens, networks."""

from trak_core.modalities.text.modality import TextModality
from trak_core.modalities.text.subword_tokens import SubwordTokens, Tokenizer
from trak_core.modalities.text.vocabulary import Vocabulary
from trak_core.modalities.text.word_ids import WordIds

__all__ = ["SubwordTokens", "TextModality", "Tokenizer", "Vocabulary", "WordIds"]
