"""Scores that other programs made come in, and tables for other programs go out."""
