"""Passages of running text, which a language model is trained to go on with."""
