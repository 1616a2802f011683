"""Signals that ask a run to stop. They are only noted; the run acts on them where nothing is half done."""

import os
import signal
from typing import Any

ASKING_TO_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C; the end of a job, by whoever ends it; Slurm's warning before it ends one."""


class StopRequest:
    """Remembers the signal that asked the run to stop.

    It needs no torch, so that a signal is noted while torch is still being imported.

    Attributes:
        number: of the last such signal; None if there was none.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    def note(self, *numbers: signal.Signals) -> dict[signal.Signals, Any]:
        """Note these signals from now on, instead of what they did. One that was blocked and came meanwhile is noted at
        once.

        Returns:
            What those did that were not noted before, for ``signal.signal``.
        """
        before = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) != self.receive}
        for number in before:
            signal.signal(number, self.receive)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
        return before

    def receive(self, number: int, frame: Any) -> None:
        """Remember a signal: a handler of it."""
        self.number = number
        if number == signal.SIGINT:
            # clusters repeat SIGTERM of themselves, people repeat Ctrl-C when they mean it
            signal.signal(signal.SIGINT, signal.default_int_handler)
            # not by print, which must not be called while the program itself is printing
            os.write(2, b"\nvisionlab: stopping after this step, saved; again to stop at once\n")
