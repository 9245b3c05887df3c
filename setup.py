"""What `pyproject.toml` cannot say: where the explorer goes, folders that join by themselves, and pins kept once.

`app.py` and `pages` travel as `trak_explorer`, because `pages` would be a name for everybody's modules. Streamlit puts
the folder of `app.py` on the path, so that `pages` is found under its own name in the explorer and nowhere else.
"""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

EXPLORER = "trak_explorer"
CORE = find_packages(include=["trak_core", "trak_core.*"])
PAGES = [f"{EXPLORER}.{name}" for name in find_packages(include=["pages", "pages.*"])]
LINES = Path("requirements-dev.txt").read_text(encoding="utf-8").splitlines()
DEV = {line.partition("==")[0]: line for line in LINES if "==" in line}


class Build(build_py):
    """Copies the modules of the package as they are now, and no others."""

    def run(self) -> None:
        """Begins anew: setuptools keeps what an earlier build copied, files that have moved since included."""
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """The modules of a package as (package, name, path); of the top folder `app.py` alone, no script beside it."""
        found = super().find_package_modules(package, package_dir)
        return [module for module in found if package != EXPLORER or module[1] == "app"]


setup(
    packages=[*CORE, EXPLORER, *PAGES],
    package_dir={EXPLORER: "."},
    package_data={
        EXPLORER: [".streamlit/config.toml"],
        **{name: ["*.js", "*.css", "*.html", "*.svg", "*.png"] for name in (*CORE, *PAGES)},
    },
    include_package_data=False,  # it would take everything from the top folder along
    cmdclass={"build_py": Build},
    extras_require={
        "cleanlab": [DEV["cleanlab"]],
        "traker": [DEV["traker"]],
        "dev": list(DEV.values()),
    },
)
