"""A person's own input, explained live: read, brought to the look of the data, and scored against a run.

Nothing is imported here: pages offer it before torch is there.
"""

__all__ = ["LIVE_METHOD"]

LIVE_METHOD = "trak"
"""The one method that scores new inputs."""
