"""The package as people install it, apart from the checkout."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.browser.driver import free_port, wait_for_health

ROOT = Path(__file__).resolve().parents[1]
IGNORED = (".*cache*", ".git", ".venv", ".hypothesis", "__pycache__", "build", "data", "*.egg-info")


@dataclass(frozen=True)
class Installed:
    """The package in a folder of its own.

    Attributes:
        site: what would be site-packages.
        elsewhere: an empty folder to start programs in, far from the checkout.
    """

    site: Path
    elsewhere: Path

    @property
    def environment(self) -> dict[str, str]:
        """Of a process that finds the package there, with runs in the folder where it is started."""
        kept = {name: value for name, value in os.environ.items() if name != "TRAK_RUNS_DIR"}
        return {**kept, "PYTHONPATH": str(self.site)}

    def python(self, code: str) -> list[str]:
        """The lines that a program prints."""
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=self.elsewhere, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def script(self, name: str, *arguments: str) -> list[str]:
        """The command that a console script is."""
        return [str(self.site / "bin" / name), *arguments]

    @contextmanager
    def explorer(self, folder: Path, log: Path) -> Iterator[str]:
        """The address of an explorer that is started in a folder; it is ended afterwards."""
        port = free_port()
        with log.open("wb") as output:
            server = subprocess.Popen(
                self.script("trak-explorer", "--server.port", str(port), "--server.headless", "true"),
                cwd=folder,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                wait_for_health(port, server)
                yield f"http://127.0.0.1:{port}"
            finally:
                os.killpg(server.pid, 9)
                server.wait()


def install(folder: Path) -> Installed:
    """Installs the package from a copy of the checkout that no version control knows; needs no network."""
    installed = Installed(folder / "site", folder / "elsewhere")
    installed.elsewhere.mkdir()
    shutil.copytree(ROOT, folder / "copy", ignore=shutil.ignore_patterns(*IGNORED))
    # What an earlier build left behind, and a script that lies beside app.py.
    stale = folder / "copy" / "build" / "lib" / "trak_core" / "moved_since.py"
    stale.parent.mkdir(parents=True)
    stale.touch()
    (folder / "copy" / "my_nets.py").touch()
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"),
            *("--no-build-isolation", "--no-index", "--target", str(installed.site), str(folder / "copy")),
        ],
        check=True,
        cwd=folder,
    )
    return installed
