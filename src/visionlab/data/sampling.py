"""Exact sampling: which image goes where is a function of (seed, epoch), whatever the number of processes and workers.

Training visits a permutation that depends on (seed, epoch) alone, in global batches; a run that is interrupted in
mid-epoch continues at the global batch where it stopped. Evaluation visits every image exactly once over all processes:
where processes would have unequally many batches, which collectives do not survive, an image is repeated under the id
:data:`visionlab.batch.PADDING`.
"""

import signal
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from lightning import Trainer
from torch.utils.data import DataLoader, Sampler


class Keys(NamedTuple):
    """Which images make one batch: what a dataset's ``__getitems__`` takes.

    epoch: the training epoch, which with the index seeds each image's augmentation.
    indices: ``(B,)`` ``int64``, positions in the split.
    padded: how many of the last entries are repeated images that must not count.
    """

    epoch: int
    indices: npt.NDArray[np.int64]
    padded: int = 0


class TrainBatches(Sampler[Keys]):
    """One process's share of the shuffled global batches of an epoch. The last incomplete global batch is left out.

    Args:
        size: the number of images.
        batch_size: images per process and batch.
        seed: of the run.
        rank: of the process.
        world: the number of processes.
        groups: ``(size,)``, a number for each image, where global batches are to be of images of one number: all are,
            but for those at the border between two numbers, which are neighbours. Batches come in random order.

    Attributes:
        epoch: set before each iteration.
        start: the number of images of this epoch, over all processes, that were processed before; used up by one
            iteration.

    Raises:
        ValueError: if the split is smaller than one global batch.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int,
        *,
        rank: int = 0,
        world: int = 1,
        groups: npt.NDArray[np.int64] | None = None,
    ) -> None:
        if size < batch_size * world:
            together = f" on {world} processes" if world > 1 else ""
            raise ValueError(
                f"the training split has {size} images, fewer than a batch of {batch_size}{together}: lower "
                f"data.init_args.batch_size to {size // world} or less"
            )
        self.size, self.batch_size, self.seed, self.rank, self.world = size, batch_size, seed, rank, world
        self.groups = groups
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        return self.size // (self.batch_size * self.world)

    def __iter__(self) -> Iterator[Keys]:
        rng = np.random.default_rng([self.seed, self.epoch])
        together = self.batch_size * self.world
        whole = rng.permutation(self.size)[: len(self) * together]
        if self.groups is not None:
            alike = whole[np.argsort(self.groups[whole], kind="stable")]
            whole = rng.permutation(alike.reshape(-1, together)).ravel()
        mine = whole[self.start :][self.rank :: self.world]
        self.start = 0
        for at in range(0, len(mine), self.batch_size):
            yield Keys(self.epoch, mine[at : at + self.batch_size])


class EvalBatches(Sampler[Keys]):
    """One process's share of a split in order: every image once over all processes, and equally many batches on
    each.
    """

    def __init__(self, size: int, batch_size: int, *, rank: int = 0, world: int = 1) -> None:
        self.size, self.batch_size, self.rank, self.world = size, batch_size, rank, world

    def __len__(self) -> int:
        return -(-self._share // self.batch_size)

    @property
    def _share(self) -> int:
        return -(-self.size // self.world)

    def __iter__(self) -> Iterator[Keys]:
        mine = np.arange(self.rank, self.size, self.world)
        padded = self._share - len(mine)  # 0 or 1
        mine = np.append(mine, np.zeros(padded, dtype=np.int64))
        for at in range(0, len(mine), self.batch_size):
            last = at + self.batch_size >= len(mine)
            yield Keys(0, mine[at : at + self.batch_size], padded if last else 0)


class Loader(DataLoader[Any]):
    """A loader of whole batches that can be continued in mid-epoch.

    The dataset gives a batch for :class:`Keys` by ``__getitems__``; nothing is collated after it. The loader has a
    generator of its own, so that making an iterator draws nothing from the global random stream.

    Lightning 2.6.6 makes the iterator of the first epoch after resuming before it tells the sampler which epoch that
    is, so the loader asks the trainer when its iterator is made; and the position it saves is what was processed, not
    what was prefetched.
    """

    def __init__(
        self,
        dataset: Any,
        batches: TrainBatches | EvalBatches,
        *,
        trainer: Trainer | None = None,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.batches = batches
        self.trainer = trainer
        super().__init__(
            dataset,
            batch_sampler=batches,  # type: ignore[arg-type]  # torch wants lists of indices; Keys go to our datasets only
            collate_fn=_as_it_is,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=pin_memory,
            generator=torch.Generator().manual_seed(0),
            worker_init_fn=_leave_signals_to_the_trainer,
        )

    def __iter__(self) -> Any:
        if isinstance(self.batches, TrainBatches) and self.trainer is not None:
            self.batches.epoch = self.trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]
        return super().__iter__()

    def state_dict(self) -> dict[str, int]:
        """How many images of the epoch were processed, over all processes."""
        if not isinstance(self.batches, TrainBatches) or self.trainer is None:
            return {"images": 0}
        # `completed` is one behind while on_train_batch_end runs
        processed = self.trainer.fit_loop.epoch_loop.batch_progress.current.processed  # type: ignore[attr-defined]
        return {"images": processed * self.batches.batch_size * self.batches.world}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the images that were processed; after a finished epoch, from the start of the next."""
        if isinstance(self.batches, TrainBatches):
            epoch = len(self.batches) * self.batches.batch_size * self.batches.world
            self.batches.start = state["images"] if state["images"] < epoch else 0


def sample_seeds(seed: int, keys: Keys) -> npt.NDArray[np.uint64]:
    """One random seed an image, a function of (seed, epoch, index) alone.

    Counter-based, by SplitMix64's finalizer (Steele, Lea and Flood 2014, figure 15), so that a whole batch is seeded at
    once.

    Returns:
        ``(B,)`` ``uint64``.
    """
    state = mix(np.uint64((seed + 0x9E3779B97F4A7C15) % 2**64))
    state = mix(state ^ np.uint64(keys.epoch))
    return np.asarray(mix(state ^ keys.indices.astype(np.uint64)))


def mix(x: Any) -> Any:
    """SplitMix64's finalizer: a bijection of ``uint64`` whose output bits look random. Wraps around silently."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def _as_it_is(batch: Any) -> Any:
    return batch


def _leave_signals_to_the_trainer(worker: int) -> None:
    """Ignore what asks a run to stop: Ctrl-C and clusters signal all processes alike, and the trainer still needs its
    loaders, until it has saved. They end when it does.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
