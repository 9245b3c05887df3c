"""What a prediction is: the model output f, its weight q and its loss; one file a task."""

from trak_core.tasks.classification import Classification

__all__ = ["Classification"]
