"""Pairs of texts, of which the second is what a model is trained to say to the first."""
