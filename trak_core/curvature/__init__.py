"""The curvature of the loss, in a form that functions of it (inverses, exponentials) are cheap to apply in."""

from trak_core.curvature.ekfac import DAMPING_SHARE, EkfacFactors, EkfacLayer, damped_inverse, fit_ekfac

__all__ = ["DAMPING_SHARE", "EkfacFactors", "EkfacLayer", "damped_inverse", "fit_ekfac"]
