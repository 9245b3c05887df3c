"""The methods by name. A new one is a file in this folder and a line here."""

from trak_core.errors import InvalidSettingError
from trak_core.methods.baselines import RandomScores, SameClass
from trak_core.methods.datamodels import DataBanzhaf, DatamodelLasso, DatamodelRidge, EmpiricalInfluence
from trak_core.methods.gradient_similarity import GradientCosine, GradientDot, GradientNorm, TracIn
from trak_core.methods.influence import InfluenceConjugateGradients, InfluenceEkfac, InfluenceExact
from trak_core.methods.logra import LoGra
from trak_core.methods.magic import Magic
from trak_core.methods.method import Method
from trak_core.methods.similarity import EmbeddingSimilarity, NearestOfClass
from trak_core.methods.source import Source
from trak_core.methods.trak import Trak, TrakDropout, TrakForwardOnly, TrakThreshold

_ALL: tuple[Method, ...] = (
    Trak(),
    TrakThreshold(),
    TrakDropout(),
    TrakForwardOnly(),
    Magic(),
    InfluenceExact(),
    InfluenceConjugateGradients(),
    InfluenceEkfac(),
    Source(),
    LoGra(),
    TracIn(),
    GradientDot(),
    GradientCosine(),
    DatamodelRidge(),
    DatamodelLasso(),
    EmpiricalInfluence(),
    DataBanzhaf(),
    EmbeddingSimilarity(),
    NearestOfClass(),
    GradientNorm(),
    SameClass(),
    RandomScores(),
)
METHODS: dict[str, Method] = {method.info.name: method for method in _ALL}


def find_method(name: str) -> Method:
    """The method of that name.

    Raises:
        InvalidSettingError: there is none; the message lists all.
    """
    if name not in METHODS:
        raise InvalidSettingError(f"there is no method {name!r}; there are: {', '.join(METHODS)}.")
    return METHODS[name]
