"""A tiny pretrained text classifier with its tokenizer, as people have them in a folder."""

from pathlib import Path

import torch

__all__ = ["WORDS", "write_tiny_bert"]

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "film", "plot", "actor", "scene", "music", "good", "bad"]


def write_tiny_bert(folder: Path, longest: int = 40) -> None:
    """Writes a BERT of a few hundred random weights, the same every time, that reads so many pieces of a text."""
    import transformers

    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=longest,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.BertModel(config).save_pretrained(folder)
