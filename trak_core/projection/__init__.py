"""Random projections of gradients; one seed gives the same projection on every device."""

from trak_core.projection.feature_maps import (
    PROJECTIONS,
    FeatureMap,
    KroneckerMap,
    ProjectionKind,
    SketchMap,
    WholeMap,
    make_feature_map,
)
from trak_core.projection.kronecker import KroneckerProjection
from trak_core.projection.projection import BlockProjection
from trak_core.projection.rademacher import RademacherProjection
from trak_core.projection.sjlt import SjltProjection

__all__ = [
    "PROJECTIONS",
    "BlockProjection",
    "FeatureMap",
    "KroneckerMap",
    "KroneckerProjection",
    "ProjectionKind",
    "RademacherProjection",
    "SjltProjection",
    "SketchMap",
    "WholeMap",
    "make_feature_map",
]
