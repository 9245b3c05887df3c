"""Starts the explorer from the command line: the console script `trak-explorer`.

It is imported as `trak_explorer.pages.components.start`, where nothing else of `pages` can be: that needs the folder of
`app.py` on the path, which Streamlit sees to.
"""

import os
import sys
from pathlib import Path

APP = Path(__file__).resolve().parents[2] / "app.py"
"""Beside `pages` in a checkout and where it is installed. Streamlit takes the `.streamlit/config.toml` beside it."""


def main() -> None:
    """Becomes `python -m streamlit run app.py` in the current folder; arguments go to Streamlit as they are.

    With `-m` the current folder is on the path, as it is for `python -m trak_core`.
    """
    os.execv(sys.executable, [sys.executable, "-m", "streamlit", "run", str(APP), *sys.argv[1:]])
