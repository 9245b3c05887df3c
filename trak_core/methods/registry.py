"""The methods by name. A new one is a file in this folder and a line here."""

from trak_core.errors import InvalidSettingError
from trak_core.methods.baselines import embedding_similarity, nearest_of_class, random_scores, same_class
from trak_core.methods.controls import amount_of_content, gradient_norm, input_similarity, target_value
from trak_core.methods.datamodels import data_banzhaf, datamodel_lasso, datamodel_ridge, empirical_influence
from trak_core.methods.gradient_similarity import gradient_cosine, gradient_dot, tracin
from trak_core.methods.influence import influence_conjugate_gradients, influence_ekfac, influence_exact
from trak_core.methods.influence_fisher import influence_fisher
from trak_core.methods.logra import logra
from trak_core.methods.lora import lora_ensemble
from trak_core.methods.magic import magic
from trak_core.methods.method import Method
from trak_core.methods.relevance import bm25, lexical_overlap
from trak_core.methods.source import source
from trak_core.methods.trackstar import trackstar
from trak_core.methods.trak import trak, trak_dropout, trak_forward_only, trak_threshold

_ALL: tuple[Method, ...] = (
    trak,
    trak_threshold,
    trak_dropout,
    trak_forward_only,
    lora_ensemble,
    magic,
    influence_exact,
    influence_conjugate_gradients,
    influence_fisher,
    influence_ekfac,
    source,
    logra,
    tracin,
    gradient_dot,
    gradient_cosine,
    trackstar,
    datamodel_ridge,
    datamodel_lasso,
    empirical_influence,
    data_banzhaf,
    bm25,
    embedding_similarity,
    nearest_of_class,
    gradient_norm,
    amount_of_content,
    input_similarity,
    lexical_overlap,
    same_class,
    target_value,
    random_scores,
)
METHODS: dict[str, Method] = {method.info.name: method for method in _ALL}


def find_method(name: str) -> Method:
    """The method of that name.

    Raises:
        InvalidSettingError: there is none; the message lists all.
    """
    if not isinstance(name, str) or name not in METHODS:
        raise InvalidSettingError(f"there is no method {name!r}; there are: {', '.join(METHODS)}.")
    return METHODS[name]


def uses_checkpoints(name: str) -> bool:
    """Whether scores of that name average over checkpoints; False of those that somebody brought to be judged."""
    return name in METHODS and METHODS[name].info.uses_checkpoints
