"""Texts: vocabularies, ids of words, subword tokens, networks."""
