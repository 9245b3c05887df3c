"""Every target of the attribution core, measured, with traker and dattri beside it.

Run it from the root of the repository: `python tests/benchmarks/attribution_core.py [--only SECTION ...]`, after
`pip install traker==0.3.2 dattri==0.3.0`. Takes about ten minutes on two CPU cores. The exit status is 1 when a target
is missed. Sections: lds, kernel, cpu, sjlt, fashion, calibration, invariance.

Everything runs on one torch thread. Threads of OpenMP wait for each other by spinning, and where other processes take
turns with them the CPU seconds of the same work were seen to rise twentyfold, for us and for others alike.
"""

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from tests.benchmarks.core_digits import measure_calibration, measure_cpu, measure_kernel, measure_lds
from tests.benchmarks.core_fashion import FASHION, fashion_is_available, fit_fashion, measure_fashion
from tests.benchmarks.core_invariance import measure_invariance
from tests.benchmarks.core_report import Report
from tests.benchmarks.core_speed import measure_sjlt
from tests.benchmarks.digits_cnn import REFERENCE, is_available

SCRIPT = Path(__file__).resolve()
SECTIONS: dict[str, Callable[[Report], None]] = {
    "lds": measure_lds,
    "kernel": measure_kernel,
    "cpu": measure_cpu,
    "sjlt": measure_sjlt,
    "fashion": partial(measure_fashion, script=SCRIPT),
    "calibration": measure_calibration,
    "invariance": measure_invariance,
}
ON_DIGITS = {"lds", "kernel", "cpu", "calibration", "invariance"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS), help="measure only these")
    parser.add_argument("--threads", type=int, default=1, help="of torch, for everything measured here (%(default)s)")
    parser.add_argument("--fashion-fit", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.fashion_fit is not None:
        fit_fashion(arguments.fashion_fit)
        return 0
    report = Report()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    report.say(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), {os.cpu_count()} CPUs, load {load}")
    for name in (name for name in SECTIONS if name in arguments.only):
        if name in ON_DIGITS and not is_available():
            report.skip(name, f"the shared data are missing ({REFERENCE})")
        elif name == "fashion" and not fashion_is_available():
            report.skip(name, f"the shared data are missing ({FASHION})")
        else:
            SECTIONS[name](report)
    return 0 if report.finish() else 1


if __name__ == "__main__":
    sys.exit(main())
