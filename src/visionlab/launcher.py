"""Signals to a run whose processes Lightning forks or spawns, and whose first process only waits for them."""

import multiprocessing.resource_tracker
import signal
from typing import Any

from lightning import Trainer
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from lightning.pytorch.trainer.call import _interrupt

from visionlab.callbacks.stop import Stopped
from visionlab.signals import ASKING_TO_STOP, StopRequest


class Launcher(_MultiProcessingLauncher):
    """Hands signals on to the processes that train, and raises :class:`Stopped` where they were stopped.

    Lightning 2.6.6 does neither: the first process dies of the signal, and takes a stop of the others for a failure.

    Args:
        launcher: of Lightning, in whose place this is put.
        request: has noted signals since the program began, and goes on to.
    """

    def __init__(self, launcher: _MultiProcessingLauncher, request: StopRequest) -> None:
        self.started: list[Any] = []
        super().__init__(launcher._strategy, launcher._start_method)
        self.request = request

    def launch(self, function: Any, *args: Any, trainer: Trainer | None = None, **kwargs: Any) -> Any:
        """Run ``function`` in all processes.

        Raises:
            Stopped: if they were asked to stop.
        """
        multiprocessing.resource_tracker.ensure_running()  # else it would be started next, which unblocks signals
        # the processes are born with these blocked, and let them in when they can note them
        signal.pthread_sigmask(signal.SIG_BLOCK, ASKING_TO_STOP)
        self.procs = []
        before = {number: signal.signal(number, self._hand_on) for number in ASKING_TO_STOP}
        try:
            return super().launch(function, *args, trainer=trainer, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKING_TO_STOP)
            for number, handler in before.items():
                signal.signal(number, handler)

    @property
    def procs(self) -> list[Any]:
        """The processes; Lightning sets it when all have been started, and then waits for them."""
        return self.started

    @procs.setter
    def procs(self, started: list[Any]) -> None:
        self.started = started
        if started:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKING_TO_STOP)

    def _hand_on(self, number: int, frame: Any) -> None:
        self.request.receive(number, frame)
        # a terminal sends Ctrl-C to all of them too, and twice means at once; another signal may come twice
        self.kill(signal.SIGTERM)

    def _wrapping_function(
        self,
        process_idx: int,
        trainer: Any,
        function: Any,
        args: Any,
        kwargs: Any,
        return_queue: Any,
        global_states: Any = None,
    ) -> None:
        try:
            super()._wrapping_function(process_idx, trainer, function, args, kwargs, return_queue, global_states)
        except Stopped as stopped:
            _interrupt(trainer, stopped)
            if process_idx == 0:
                return_queue.put(stopped)

    def _recover_results_in_main_process(self, worker_output: Any, trainer: Trainer) -> None:
        if isinstance(worker_output, Stopped):
            number, steps = worker_output.args
            raise Stopped(self.request.number or number, steps)
        super()._recover_results_in_main_process(worker_output, trainer)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "started": []}  # processes cannot be pickled
