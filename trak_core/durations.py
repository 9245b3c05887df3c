"""Durations as people say them."""

import math


def in_minutes(minutes: float) -> str:
    """Minutes that somebody gave, exactly: "1 minute", "2.5 minutes"."""
    return "1 minute" if minutes == 1 else f"{minutes:g} minutes"


def time_taken(seconds: float) -> str:
    """Seconds that something took, rounded: "12 seconds", "a minute", "3.4 minutes"."""
    if round(seconds) == 60:
        return "a minute"
    if seconds >= 100:
        return f"{seconds / 60:.1f} minutes"
    return "1 second" if round(seconds) == 1 else f"{seconds:.0f} seconds"


def time_to_come(seconds: float) -> str:
    """Seconds that something will take about, rounded up: "20 seconds", "a minute", "3 minutes"."""
    if seconds <= 45:
        return f"{max(10, 10 * math.ceil(seconds / 10))} seconds"
    minutes = math.ceil(seconds / 60)
    return "a minute" if minutes == 1 else f"{minutes:,} minutes"
