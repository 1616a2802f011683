"""Kill a run at a random step or in a validation, continue it, and compare it with one that nothing interrupted."""

import random
import shutil
import signal
from dataclasses import dataclass

import torch

from conftest import RECIPE, in_child, in_processes, wait_for
from visionlab.cli import main
from visionlab.run import Run

STEPS, STEPS_OF_AN_EPOCH, SAVED_EVERY = 72, 18, 7
"""Of ``RECIPE``."""


@dataclass
class Outcome:
    """What became of a run that was killed.

    step: after which it was killed.
    redone: steps that were taken twice.
    equal: whether the last and the best weights, every logged number and, process by process, every image are those of
        the run that nothing interrupted; where the number of processes changed, whether every global batch has the same
        images.
    """

    step: int
    redone: int
    equal: bool


class Kills:
    """Random kills of one of ``world`` processes, each with ``workers`` loader processes, continued by ``then``.

    The global batch is the same in all of them. Works in a folder of its own.
    """

    def __init__(self, folder, world, then, workers, seed):
        self.folder, self.world, self.then, self.workers = folder, world, then, workers
        self.draw = random.Random(seed)
        folder.mkdir(parents=True)
        (folder / "tiny.yaml").write_text(RECIPE)
        assert not any(self._fit(world, "straight")), "the run that nothing interrupts failed"

    def kill_and_continue(self):
        shutil.rmtree(self.folder / "runs", ignore_errors=True)
        for noted in (*self.folder.glob("runs.*"), *self.folder.glob("again.*")):
            noted.unlink()
        step, rank = self.draw.randrange(SAVED_EVERY + 1, STEPS), self.draw.randrange(self.world)
        name = "SignalAt"
        if self.draw.random() < 0.25:
            name, step = "SignalInValidation", max(step // STEPS_OF_AN_EPOCH, 1) * STEPS_OF_AN_EPOCH
        killer = f"{{class_path: stand_ins.{name}, init_args: {{step: {step}, rank: {rank}, number: 9}}}}"
        statuses = self._fit(self.world, "runs", "--trainer.callbacks+", killer)
        assert statuses[rank] == -signal.SIGKILL, statuses
        assert all(statuses), statuses
        run = self.folder / "runs" / "tiny" / "0"
        saved = torch.load(Run.open(run).newest_checkpoint(), weights_only=True)["global_step"]
        assert not any(self._fit(self.then, "runs", "--resume", str(run), noted="again")), "continuing failed"
        equal = self._same_images(saved)
        if self.world == self.then:
            equal = equal and same_end(self.folder / "straight" / "tiny" / "0", run)
        return Outcome(step, step - saved, equal)

    def _fit(self, world, runs, *words, noted=None):
        note = f"{{class_path: stand_ins.NoteImages, init_args: {{path: {self.folder / (noted or runs)}}}}}"
        command = ["fit", "--config", str(self.folder / "tiny.yaml"), "--trainer.logger", "false"]
        command += ["--runs", str(self.folder / runs), "--save_every_n_steps", str(SAVED_EVERY)]
        command += ["--data.init_args.num_workers", str(self.workers), "--trainer.callbacks+", note, *words]
        if world == 1:
            return [wait_for(in_child(lambda: main(command)), 120)]
        share = ["--trainer.devices", str(world), "--trainer.strategy", "ddp", "--data.init_args.batch_size"]
        return in_processes(lambda: main([*command, *share, str(16 // world)]), world)

    def _same_images(self, saved):
        """What was seen up to the checkpoint and after it is what the straight run saw, each image once."""
        before = [lines[:saved] for lines in self._noted("runs", self.world)]
        again, straight = self._noted("again", self.then), self._noted("straight", self.world)
        if self.world == self.then:
            return [a + b for a, b in zip(before, again, strict=True)] == straight
        return _batches(before) + _batches(again) == _batches(straight)

    def _noted(self, name, world):
        return [(self.folder / f"{name}.{rank}").read_text().splitlines() for rank in range(world)]


def _batches(noted):
    """The images of each global batch."""
    return [sorted(i for line in lines for i in line.split()[2:]) for lines in zip(*noted, strict=True)]


def same_end(one, other):
    """Whether two runs ended with equal weights, bit by bit, found the same to be the best, and logged the same."""
    if (one / "metrics.csv").read_text() != (other / "metrics.csv").read_text():
        return False
    for name in ("last.ckpt", "best.ckpt"):
        first, second = (
            torch.load(run / "checkpoints" / name, weights_only=True)["state_dict"] for run in (one, other)
        )
        if not all(torch.equal(value, second[key]) for key, value in first.items()):
            return False
    return True
