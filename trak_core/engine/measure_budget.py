"""How much of measuring a budget of time pays for, where models are trained one after another."""

from trak_core.engine.measure_settings import MeasureSettings

IN_RESERVE = 0.4
"""Share of the budget that is left for the methods themselves and for what was predicted too low."""
METHODS_REMOVED = 4
"""By which examples are removed: the best, the run's own, nearest neighbours, and random numbers."""
FLIP_ROUNDS = 4

LADDER = (
    MeasureSettings(n_removal_tests=100, n_truth_subsets=0),
    MeasureSettings(
        n_removal_tests=30, removal_sizes=(5, 20, 80), n_removal_seeds=3, n_datamodel_subsets=200, n_truth_subsets=0
    ),
    MeasureSettings(
        n_removal_tests=20, removal_sizes=(10, 40), n_removal_seeds=2, n_datamodel_subsets=100, n_truth_subsets=0
    ),
    MeasureSettings(
        n_removal_tests=10, removal_sizes=(10, 40), n_removal_seeds=2, n_datamodel_subsets=50, n_truth_subsets=0
    ),
    MeasureSettings(
        n_removal_tests=5, removal_sizes=(20,), n_removal_seeds=2, n_datamodel_subsets=0, n_truth_subsets=0
    ),
    MeasureSettings(n_removal_tests=0, n_datamodel_subsets=0, n_truth_subsets=0),
)
"""From the most to the least: datamodels then learn from the halves that the run has, and nothing is removed."""


def models_of(settings: MeasureSettings) -> float:
    """How many models these settings train, in models of all train examples."""
    a_round = settings.n_removal_tests * settings.n_removal_seeds
    removals = a_round * (METHODS_REMOVED * len(settings.removal_sizes) + FLIP_ROUNDS) + settings.n_removal_seeds
    return settings.n_datamodel_subsets / 2 + (removals if settings.n_removal_tests else 0)


def measure_within(seconds: float, seconds_a_model: float) -> MeasureSettings:
    """The most that a budget pays for; the least, which trains nothing, always fits.

    Args:
        seconds: that may be spent.
        seconds_a_model: of training one model on all train examples.
    """
    affordable = (1 - IN_RESERVE) * max(0.0, seconds) / max(seconds_a_model, 1e-6)
    return next((each for each in LADDER if models_of(each) <= affordable), LADDER[-1])
