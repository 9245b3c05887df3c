"""Random projections of gradients; one seed gives the same projection on every device."""

from trak_core.projection.rademacher import RademacherProjection

__all__ = ["RademacherProjection"]
