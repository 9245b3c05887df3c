"""LoRA ensembles: TRAK over several adapters on each of few models, and over the parameters of these alone.

A checkpoint that was trained apart from all others costs a whole training. An adapter of low rank (Hu et al. 2021,
arXiv 2106.09685) on a checkpoint that is there costs a short fine-tuning of few parameters, and another seed gives
another one; gradients of its parameters are short and quick. So TRAK's two factors are averaged over all of them.

The time of the method includes the training of its adapters. Where models of a run are adapters already, TRAK over its
checkpoints is such an ensemble.

Source: Deng, Li, Zhang and Ma 2024, "Efficient ensembles improve training data attribution", arXiv 2405.17293.
"""

import copy
import re
import warnings
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from trak_core.errors import InvalidModelError, NeedNotMetError, TrainingDivergedError, in_words
from trak_core.gradients import Inputs, StateDict, is_matrix, take
from trak_core.methods.context import MethodContext, Need
from trak_core.methods.method import MethodInfo
from trak_core.methods.trak import Models, fit_models
from trak_core.methods.trak_loop import TrakScores
from trak_core.seeds import derive_seed
from trak_core.tasks import Task
from trak_core.training import FineTuner, FineTuning

N_ADAPTERS = 5
"""On each checkpoint."""
RANK, ALPHA = 8, 16
"""Of adapters: how wide they are, and with which factor over the width they count."""
EPOCHS, BATCH_SIZE, LEARNING_RATE = 1, 16, 1e-3
"""Of their training, by AdamW. On digits longer or faster ones made scores worse: they lead away."""
PARAMETERS = "*.lora_?.default.weight"
"""Names of the parameters of adapters."""
TRIED = 2
"""Examples that the model is run on to see which of its layers run."""


@MethodInfo(
    "lora_ensemble",
    "TRAK, LoRA ensemble",
    f"TRAK over {N_ADAPTERS} adapters that are fine-tuned on a checkpoint, by the gradients of these alone.",
    needs=(Need.CHECKPOINTS, Need.LOSS, Need.MATRIX_LAYERS, Need.PEFT),
    max_checkpoints=1,
    has_ridge=True,
)
def lora_ensemble(context: MethodContext) -> TrakScores:
    """TRAK over adapters; those of one checkpoint are no independent models, and count as one."""
    models = Models(with_adapters(context), a_checkpoint=N_ADAPTERS)
    return fit_models(context, models, models.q(), adapters=N_ADAPTERS, rank=RANK)


def with_adapters(context: MethodContext, n_adapters: int = N_ADAPTERS) -> MethodContext:
    """The context of `n_adapters` fine-tuned adapters on each of its checkpoints, those of one after another.

    Its gradients are those of the adapters; their training is all that it costs.

    Raises:
        NeedNotMetError: the model has adapters already.
        InvalidModelError: the model has no layer for adapters, or peft cannot put any there.
        TrainingDivergedError: the weights of an adapter are not finite.
    """
    adapters, states = Adapters.on(context.architecture, context.task, take(context.train.inputs, slice(0, TRIED))), []
    n_train = len(context.train)
    settings = FineTuning(EPOCHS, min(BATCH_SIZE, n_train), LEARNING_RATE, weight_decay=0.0)
    for checkpoint, weights in enumerate(context.states):
        make, base = partial(adapters.fresh, weights), adapters.renamed(weights)
        tuner = FineTuner(make, context.task, context.train.inputs, context.train.targets, settings)
        for number in range(n_adapters):
            seed = derive_seed(context.seed, "adapter", checkpoint, number)
            trained, _ = tuner.train(torch.arange(n_train), seed)
            if not all(value.isfinite().all() for value in trained.values()):
                raise TrainingDivergedError(
                    f"adapter {number} on checkpoint {checkpoint} has weights that are not finite after its "
                    "fine-tuning; leave method 'lora_ensemble' out, or scale the inputs."
                )
            states.append({**base, **trained})
    computing = replace(context.computing, parameters=PARAMETERS)
    architecture = adapters.fresh(context.states[0])
    return replace(context, architecture=architecture, states=states, computing=computing, _sides=[])


@dataclass(frozen=True)
class Adapters:
    """Where a model takes adapters."""

    architecture: nn.Module  # without them
    layers: tuple[str, ...]  # names of the layers that get one each

    @classmethod
    def on(cls, architecture: nn.Module, task: Task, inputs: Inputs) -> "Adapters":
        """Adapters on every layer that multiplies with a weight of its own and runs on these inputs.

        Left out are weights that several layers share, such as a head that is the table of words as well, and layers
        whose weight others take without running them, as attention of torch does.

        Raises:
            As `with_adapters`.
        """
        from peft.tuners.tuners_utils import BaseTunerLayer  # takes seconds to import

        if any(isinstance(module, BaseTunerLayer) for module in architecture.modules()):
            raise NeedNotMetError(
                "method 'lora_ensemble' needs a model without adapters, and this one has some; trak over several "
                "checkpoints of adapters is a LoRA ensemble already."
            )
        running: set[str] = set()
        own = copy.deepcopy(architecture).eval()
        owners = Counter(id(value) for module in own.modules() for value in module._parameters.values())
        for name, module in own.named_modules():
            weight = module._parameters.get("weight")
            if name and weight is not None and is_matrix(module) and owners[id(weight)] == 1:
                module.register_forward_pre_hook(lambda *_, name=name: running.add(name))
        task.outputs_of(own, inputs)
        if not running:
            raise InvalidModelError(
                "the model has no Linear or Conv layer inside that runs by itself, so that method 'lora_ensemble' has "
                "nowhere to put adapters; use trak_dropout, or trak."
            )
        return cls(architecture, tuple(name for name, _ in own.named_modules() if name in running))

    def fresh(self, weights: StateDict) -> nn.Module:
        """The model at some weights with fresh adapters, which change nothing yet; drawn from torch's generator.

        Raises:
            InvalidModelError: peft cannot do that.
        """
        from peft import LoraConfig, inject_adapter_in_model

        model = copy.deepcopy(self.architecture)
        model.load_state_dict(weights, strict=False)
        # As a pattern of whole names: peft takes lists of names for their ends.
        config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="|".join(map(re.escape, self.layers)))
        try:
            with warnings.catch_warnings():
                for harmless in ("fan_in_fan_out", ".*Merging is not supported"):  # it sets the one, and nothing merges
                    warnings.filterwarnings("ignore", harmless)
                adapted = inject_adapter_in_model(config, model)
        except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
            raise InvalidModelError(
                f"peft cannot put adapters on this model ({in_words(error)}); use trak_dropout, or trak."
            ) from error
        return adapted.eval()

    def renamed(self, weights: StateDict) -> dict[str, Tensor]:
        """The weights under the names that they have in the model with adapters."""
        inside = {f"{layer}.": f"{layer}.base_layer." for layer in self.layers}
        parts = {name: name.rpartition(".") for name in weights}
        return {
            inside.get(layer + dot, layer + dot) + leaf: weights[name] for name, (layer, dot, leaf) in parts.items()
        }
