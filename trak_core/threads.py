"""How threads wait for one another; told before torch is imported, whose thread pool reads it once."""

import os

PASSIVE = ("OMP_WAIT_POLICY", "PASSIVE")


def wait_passively() -> None:
    """Threads that wait for others sleep, unless the environment says otherwise.

    Usually they spin. On a machine that does something else besides, the one that is waited for then gets no turn: a
    training step of a small network took 240 ms of processor time instead of 14 with two other processes on two cores.
    Results are the same, bit for bit.
    """
    os.environ.setdefault(*PASSIVE)
