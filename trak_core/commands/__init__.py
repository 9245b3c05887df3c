"""The commands of `python -m trak_core`, a file for each kind."""
