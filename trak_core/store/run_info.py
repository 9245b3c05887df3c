"""What a run is, read once when it is opened."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RunInfo:
    """What a run is."""

    name: str
    recipe: str  # that made it
    title: str  # of the data, for people
    modality: str  # of its examples, such as "image"
    class_names: tuple[str, ...]  # in the order of the labels; without classes one name, that of the model output
    n_train: int  # number of train examples
    n_test: int  # number of test examples
    n_checkpoints: int  # models that attribution averages over
    proj_dim: int  # dimension of the stored features
    method: str  # that pages show first
    methods: tuple[str, ...]  # all with scores, that one first
    provenance: dict[str, Any]  # every key of the meta table

    @property
    def has_classes(self) -> bool:
        """False for regression and the like: there is one model output to explain, and labels are targets."""
        return len(self.class_names) > 1

    @property
    def is_projected(self) -> bool:
        """True when the kernel was solved with projected gradients, because whole ones would not have fitted."""
        return str(self.provenance.get("kernel", "")).startswith("projected")

    @property
    def came_about(self) -> str:
        """How a run came about of which nothing tells how its models were trained, as the end of "the run was ..."."""
        return "imported from scores made elsewhere" if self.provenance.get("imported") else "saved from Python"
