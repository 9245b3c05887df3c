"""Tiny language models of Hugging Face, and texts as its tokenizers and its Trainer give them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

N_WORDS = 40
SIZES = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}


def word_tokenizer() -> Any:
    """A tokenizer of words between blanks; 0 fills up, 1 ends a text."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<pad>", "<end>", *(f"w{number}" for number in range(2, N_WORDS))]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<end>")


def tiny_gpt2(seed: int = 0, **settings: Any) -> nn.Module:
    """A GPT-2 of some thousand random weights, which reads 16 tokens."""
    import transformers

    sizes = {"vocab_size": N_WORDS, "n_positions": 16, "n_embd": 8, "n_layer": 2, "n_head": 2}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return transformers.GPT2LMHeadModel(transformers.GPT2Config(**{**sizes, **SIZES, **settings}))


def tiny_t5(seed: int = 0, **settings: Any) -> nn.Module:
    """A T5 of some thousand random weights."""
    import transformers

    sizes = {"vocab_size": N_WORDS, "d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    special = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = transformers.T5Config(**{**sizes, **special, **settings}, dropout_rate=0.0)
        return transformers.T5ForConditionalGeneration(config)


def with_lora(model: nn.Module, seed: int = 0, **settings: Any) -> nn.Module:
    """The model with adapters on its attention, which are not zero any more."""
    import peft

    config = peft.LoraConfig(r=2, target_modules=["c_attn"], task_type="CAUSAL_LM", fan_in_fan_out=True, **settings)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        adapted = peft.get_peft_model(model, config)
    generator = torch.Generator().manual_seed(seed)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return adapted


def tokenized(lengths: Sequence[int], seed: int = 0) -> list[dict[str, Any]]:
    """Texts as a tokenizer gives them one by one, in a list as a Trainer takes it."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(2, N_WORDS, (length,), generator=generator).tolist() for length in lengths]
    return [{"input_ids": row, "attention_mask": [1] * len(row), "text": f"text {i}"} for i, row in enumerate(rows)]


def pairs(lengths: Sequence[tuple[int, int]], seed: int = 0) -> list[dict[str, Any]]:
    """Source and target texts, as a Trainer of a model from text to text takes them."""
    sources = tokenized([source for source, _ in lengths], seed)
    targets = tokenized([target for _, target in lengths], seed + 1)
    return [
        {"input_ids": source["input_ids"], "labels": [*target["input_ids"], 1]}
        for source, target in zip(sources, targets, strict=True)
    ]


def padded(rows: Sequence[dict[str, Any]], length: int) -> dict[str, Tensor]:
    """The same texts in one batch, filled up by hand."""
    ids = torch.zeros(len(rows), length, dtype=torch.int64)
    labels = torch.full((len(rows), length), -100)
    for i, row in enumerate(rows):
        tokens = torch.tensor(row["input_ids"])
        ids[i, : len(tokens)] = labels[i, : len(tokens)] = tokens
    return {"input_ids": ids, "attention_mask": (labels >= 0).long(), "labels": labels}
