"""What a prediction is: the model output f, its weight q, its loss and the answer; one file a task."""

from trak_core.tasks.answer import Answer
from trak_core.tasks.causal_lm import CausalLM
from trak_core.tasks.classification import Classification
from trak_core.tasks.curvature import CurvaturePart, draw_parts, hessian_product
from trak_core.tasks.custom import CustomTask
from trak_core.tasks.masked_lm import MaskedLM
from trak_core.tasks.outputs import Inputs, Model, at_weights, call, held_by, read_logits
from trak_core.tasks.registry import TASKS, find_task, label_task, register_task
from trak_core.tasks.regression import Regression
from trak_core.tasks.seq2seq import Seq2Seq
from trak_core.tasks.task import Targets, Task, prepared
from trak_core.tasks.tokens import n_words

__all__ = [
    "TASKS",
    "Answer",
    "CausalLM",
    "Classification",
    "CurvaturePart",
    "CustomTask",
    "Inputs",
    "MaskedLM",
    "Model",
    "Regression",
    "Seq2Seq",
    "Targets",
    "Task",
    "at_weights",
    "call",
    "draw_parts",
    "find_task",
    "held_by",
    "hessian_product",
    "label_task",
    "n_words",
    "prepared",
    "read_logits",
    "register_task",
]
