"""The steps of a build and what each of them takes."""

from trak_core.engine.pace import DIGITS_PACE, Pace
from trak_core.engine.progress import Step
from trak_core.engine.settings import BuildSettings

FROM_THE_LEDGER = ("fit", "ridge", "eval", "lds")
"""Steps that need models retrained on random halves; a subject that trains no models goes without."""


def plan(settings: BuildSettings, pace: Pace = DIGITS_PACE) -> list[Step]:
    """The steps of a build with the seconds that they take at some pace."""
    n_checkpoints = settings.n_checkpoints
    n_models = settings.n_subsets * settings.n_seeds
    fit_seconds = settings.n_fit * settings.n_seeds * pace.half_model
    steps = [
        Step("data", "reading the data", 1, pace.data, True),
        Step(
            "checkpoints",
            f"training {n_checkpoints} checkpoints",
            1,
            pace.model * n_checkpoints,
            True,
        ),
        Step("fit", "retraining on the first random halves", settings.n_fit, fit_seconds, True),
        Step("features", "computing gradients", n_checkpoints, pace.features * n_checkpoints, True),
        Step("ridge", "choosing the ridge", n_checkpoints, pace.ridge * n_checkpoints, True),
        Step("scores", "scoring", n_checkpoints, pace.scores * n_checkpoints, True),
        Step("labels", "looking for wrong labels", 1, pace.labels, False),
        Step(
            "eval",
            f"retraining {n_models} models on random halves",
            settings.n_subsets - settings.n_fit,
            n_models * pace.half_model - fit_seconds,
            False,
        ),
        Step("lds", "measuring the evidence", 1, pace.lds, False),
        Step("map", "drawing the map", 1, pace.map, False),
    ]
    return [step for step in steps if settings.n_subsets or step.name not in FROM_THE_LEDGER]
