"""Draws what a generator makes: the same images as they grow better, ways between images, and real ones beside them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import wandb
from lightning import Callback, LightningModule, Trainer
from PIL import Image
from torch import Tensor

from visionlab.callbacks.ema import evaluated_weights
from visionlab.callbacks.leaving import leave, tell
from visionlab.pictures.films import save_film, tiles
from visionlab.pictures.grids import grid

IMAGES = 64
"""On a sheet."""
FRAMES = 200
"""Of a film, at most."""


class GeneratedPictures(Callback):
    """Leaves pictures of generated images in the run folder, and in W&B; by the weights that evaluation takes.

    ``generated.png``: images of fixed noise, drawn after each validation. ``film/<step>.png``: the same without gaps;
    ``film.gif`` of all these, when training ends. ``interpolations.png``: a way between two images in each row, along
    the great circle between their noise. ``real_beside_generated.png``: real images of the evaluated split on the left.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "pictures"

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        with generating(trainer, pl_module):
            images = to_uint8(pl_module.generate_numbered(range(IMAGES)))
        leave(trainer, self.folder, "generated", grid(images, cell=64))
        if trainer.state.fn == "fit":
            film = self.folder / "film"
            film.mkdir(parents=True, exist_ok=True)
            tiles(images).save(film / f"{trainer.global_step:08}.png")
            frames = sorted(film.glob("*.png"))
            for frame in frames[1:-1:2] if len(frames) > FRAMES else ():
                frame.unlink()
        else:
            self._draw_ways(trainer, pl_module, "val")

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        frames = sorted((self.folder / "film").glob("*.png"))
        if not trainer.is_global_zero or len(frames) == 0:
            return
        self._draw_ways(trainer, pl_module, "val")
        path = self.folder / "film.gif"
        save_film([Image.open(frame) for frame in frames], path, seconds=10)
        tell(trainer, "film", lambda: wandb.Video(str(path), format="gif"))

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero:
            self._draw_ways(trainer, pl_module, "test")

    def _draw_ways(self, trainer: Trainer, task: Any, split: str) -> None:
        with generating(trainer, task):
            ways = task.walk(range(8, 17), 8)
            generated = to_uint8(task.generate_numbered(range(IMAGES)))
        leave(trainer, self.folder, "interpolations", grid(to_uint8(ways), cell=64))
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        real = [data.datasets[split].image(i) for i in range(min(IMAGES, len(data.datasets[split])))]
        rows = -(-len(real) // 8)
        empty = np.full_like(real[0], 255)
        real += [empty] * (8 * rows - len(real))
        both = [image for row in range(rows) for half in (real, generated) for image in half[8 * row : 8 * row + 8]]
        leave(trainer, self.folder, "real_beside_generated", grid(both, columns=16, cell=64))


@contextmanager
def generating(trainer: Trainer, task: LightningModule) -> Iterator[None]:
    """The task's net is as evaluation has it: without gradients, in evaluation mode, with averaged weights if any."""
    with evaluated_weights(trainer, task), torch.no_grad():
        net: Any = task.net
        before = net.training
        net.eval()
        try:
            yield
        finally:
            net.train(before)


def to_uint8(images: Tensor) -> list[npt.NDArray[np.uint8]]:
    """``(N, channels, H, W)`` in [0, 1] to ``(H, W, channels)`` each."""
    return list((images.float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy())
