"""Versions of what a run was made with."""

import importlib.metadata
import platform

PACKAGES = ("torch", "numpy", "duckdb", "scikit-learn", "scipy")


def versions() -> dict[str, str]:
    """Python and the packages that numbers depend on, by name."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}
