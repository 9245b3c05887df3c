"""What components are made of in the browser: the scripts, styles and HTML files that lie beside this one."""

from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent


@cache
def asset(*names: str) -> str:
    """The text of files beside the components, one after the other.

    Streamlit takes the script of an app's component as text, and a script that comes as text can import no other. Files
    that several components share, or that hold a part of one, are named first: those behind them use what they define.

    Args:
        names: of the files, in order; the last script is the one with `export default`.
    """
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in names)
