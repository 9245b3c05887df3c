"""Language models of every kind in any size, made here with random weights, and batches for them."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from trak_core.gradients import take
from trak_core.tasks import CausalLM, Classification, Seq2Seq, Task

__all__ = ["LANGUAGE_MODELS", "MODELS_WITH_WAYS_OF_THEIR_OWN", "Batch", "LanguageModel", "Size", "padded"]

N_CLASSES = 3
PADDING = 0


@dataclass(frozen=True)
class Size:
    """How large a model is."""

    n_words: int = 50
    width: int = 16
    longest: int = 40


@dataclass(frozen=True)
class Batch:
    """Examples and what is asked about them."""

    inputs: dict[str, Tensor]
    targets: Tensor

    def __getitem__(self, part: slice) -> "Batch":
        inputs = take(self.inputs, part)
        assert isinstance(inputs, dict)
        return Batch(inputs, self.targets[part])


@dataclass(frozen=True)
class LanguageModel:
    """A kind of model, its task, and how people adapt it."""

    build: Callable[[Size], nn.Module]
    task: Task
    with_mask: bool = True
    adapt: Callable[[nn.Module], nn.Module] | None = None

    def made(self, size: Size, seed: int = 0) -> nn.Module:
        """The model in evaluation, no trained parameter at its initial value."""
        torch.manual_seed(seed)
        model = self.build(size)
        model = (model if self.adapt is None else self.adapt(model)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1 * torch.randn(parameter.shape))
        return model

    def batch(self, size: Size, lengths: list[int], seed: int = 0) -> Batch:
        """Random texts of these lengths, padded at their end to the longest of them; every third token is not asked."""
        generator = torch.Generator().manual_seed(seed)

        def texts(lengths: list[int]) -> tuple[Tensor, Tensor]:
            mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
            return torch.randint(3, size.n_words, mask.shape, generator=generator) * mask, mask

        ids, mask = texts(lengths)
        inputs = {"input_ids": ids, "attention_mask": mask} if self.with_mask else {"input_ids": ids}
        if isinstance(self.task, Classification):
            return Batch(inputs, torch.arange(len(lengths)) % N_CLASSES)
        if isinstance(self.task, Seq2Seq):
            ids, mask = texts([length // 2 + 1 for length in lengths])
        labels = ids.masked_fill(mask == 0, -100)
        asked = labels.clone()
        asked[:, ::3] = -100
        return Batch({**inputs, "labels": labels}, asked)


def padded(batch: Batch, more: int) -> Batch:
    """The batch with more padding at the end of every text."""

    def longer(part: Tensor, fill: int) -> Tensor:
        return torch.nn.functional.pad(part, (0, more), value=fill)

    inputs = {name: longer(part, -100 if name == "labels" else PADDING) for name, part in batch.inputs.items()}
    return Batch(inputs, longer(batch.targets, -100) if batch.targets.dim() > 1 else batch.targets)


def _bert(size: Size) -> nn.Module:
    import transformers

    return transformers.BertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=size.n_words,
            hidden_size=size.width,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=4 * size.width,
            max_position_embeddings=size.longest,
            num_labels=N_CLASSES,
        )
    )


def _gpt2(size: Size, **settings: Any) -> nn.Module:
    import transformers

    sizes = {"vocab_size": size.n_words, "n_embd": size.width, "n_layer": 2, "n_head": 4, "n_positions": size.longest}
    special = {"pad_token_id": PADDING, "bos_token_id": 1, "eos_token_id": 2}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, **special, **settings))


def _llama(size: Size) -> nn.Module:
    import transformers

    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=size.n_words,
            hidden_size=size.width,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=2 * size.width,
            max_position_embeddings=size.longest,
        )
    )


def _t5(size: Size, kind: str = "T5", **settings: Any) -> nn.Module:
    import transformers

    sizes = {"vocab_size": size.n_words, "d_model": size.width, "d_kv": size.width // 4, "d_ff": 2 * size.width}
    layers = {"num_layers": 2, "num_heads": 4, "relative_attention_num_buckets": 8}
    special = {"decoder_start_token_id": PADDING, "pad_token_id": PADDING}
    config = getattr(transformers, f"{kind}Config")(**sizes, **layers, **special, **settings)
    model: nn.Module = getattr(transformers, f"{kind}ForConditionalGeneration")(config)
    return model


def _gemma(size: Size) -> nn.Module:
    import transformers

    shape = {"vocab_size": size.n_words, "hidden_size": size.width, "intermediate_size": 2 * size.width}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4}
    return transformers.GemmaForCausalLM(transformers.GemmaConfig(**shape, **heads, **_special()))


def _opt(size: Size) -> nn.Module:
    import transformers

    shape = {"vocab_size": size.n_words, "hidden_size": size.width, "ffn_dim": 2 * size.width}
    others = {"num_hidden_layers": 2, "num_attention_heads": 4, "word_embed_proj_dim": size.width}
    config = transformers.OPTConfig(**shape, **others, max_position_embeddings=size.longest, **_special())
    return transformers.OPTForCausalLM(config)


def _bart(size: Size) -> nn.Module:
    import transformers

    sides: dict[str, int] = {}
    for side in ("encoder", "decoder"):
        sides |= {f"{side}_layers": 2, f"{side}_attention_heads": 4, f"{side}_ffn_dim": 2 * size.width}
    shape = {"vocab_size": size.n_words, "d_model": size.width, "max_position_embeddings": size.longest}
    config = transformers.BartConfig(**shape, **sides, **_special(), decoder_start_token_id=2, forced_eos_token_id=2)
    return transformers.BartForConditionalGeneration(config)


def _mpnet(size: Size) -> nn.Module:
    import transformers

    shape = {"vocab_size": size.n_words, "hidden_size": size.width, "intermediate_size": 2 * size.width}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": size.longest}
    config = transformers.MPNetConfig(**shape, **heads, num_labels=N_CLASSES)
    return transformers.MPNetForSequenceClassification(config)


def _special() -> dict[str, int]:
    return {"pad_token_id": PADDING, "bos_token_id": 1, "eos_token_id": 2}


def _ia3(model: nn.Module) -> nn.Module:
    import peft

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        adapted: nn.Module = peft.get_peft_model(
            model, peft.IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"])
        )
    return adapted


def _adapted(kind: str, modules: tuple[str, ...], **settings: Any) -> Callable[[nn.Module], nn.Module]:
    def adapt(model: nn.Module) -> nn.Module:
        import peft

        fan = kind == "CAUSAL_LM" and type(model).__name__.startswith("GPT2")
        config = peft.LoraConfig(r=4, target_modules=list(modules), task_type=kind, fan_in_fan_out=fan, **settings)
        with warnings.catch_warnings():
            # peft 0.21 asks transformers 5.23 for an old name of a property.
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            adapted: nn.Module = peft.get_peft_model(model, config)
        return adapted

    return adapt


_CLASSES, _CAUSAL, _SEQ2SEQ = Classification("text"), CausalLM(), Seq2Seq()
_BERT, _GPT2 = LanguageModel(_bert, _CLASSES), LanguageModel(_gpt2, _CAUSAL)
_T5 = LanguageModel(_t5, _SEQ2SEQ)
LANGUAGE_MODELS = {
    "BERT": _BERT,
    "GPT-2": _GPT2,
    "GPT-2, eager": LanguageModel(lambda size: _gpt2(size, attn_implementation="eager"), _CAUSAL),
    "GPT-2, no mask": replace(_GPT2, with_mask=False),
    "Llama": LanguageModel(_llama, _CAUSAL),
    "T5": _T5,
    "mT5": LanguageModel(lambda size: _t5(size, "MT5"), _SEQ2SEQ),
    "LoRA on GPT-2": replace(_GPT2, adapt=_adapted("CAUSAL_LM", ("c_attn", "c_fc"))),
    "DoRA on GPT-2": replace(_GPT2, adapt=_adapted("CAUSAL_LM", ("c_attn", "c_fc"), use_dora=True)),
    "LoRA on BERT": replace(_BERT, adapt=_adapted("SEQ_CLS", ("query", "value"))),
    "DoRA on BERT": replace(_BERT, adapt=_adapted("SEQ_CLS", ("query", "value"), use_dora=True)),
    "LoRA on T5": replace(_T5, adapt=_adapted("SEQ_2_SEQ_LM", ("q", "v"))),
}
"""Kinds of models by name."""
MODELS_WITH_WAYS_OF_THEIR_OWN = {
    "Gemma, which scales words": LanguageModel(_gemma, _CAUSAL),
    "OPT, which counts positions": LanguageModel(_opt, _CAUSAL),
    "BART, which repeats positions": LanguageModel(_bart, _SEQ2SEQ),
    "MPNet, which repeats biases": LanguageModel(_mpnet, _CLASSES),
    "LoRA on words": replace(_GPT2, adapt=_adapted("CAUSAL_LM", ("c_attn", "wte"))),
    "IA3 on Llama": LanguageModel(_llama, _CAUSAL, adapt=_ia3),
}
"""Kinds whose layers do more than their class says, or keep parameters where nothing runs."""
