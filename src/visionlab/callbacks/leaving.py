"""Where pictures are left: in the run folder, and in W&B."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import wandb
from lightning import Trainer
from lightning.pytorch.loggers import WandbLogger
from PIL import Image
from PIL.PngImagePlugin import PngInfo


def leave(trainer: Trainer, folder: Path, name: str, picture: Image.Image) -> None:
    """Write ``<name>.png``, and log it.

    Args:
        trainer: whose loggers are told.
        folder: of the pictures of the run.
        name: of the picture.
        picture: in place of one of that name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about = PngInfo()
    about.add_text("step", str(trainer.global_step))  # for `visionlab sync`
    picture.save(folder / f"{name}.png", pnginfo=about)
    tell(trainer, name, lambda: wandb.Image(picture))


def tell(trainer: Trainer, name: str, make: Callable[[], Any]) -> None:
    """Log a picture, several, or a film of W&B's, under ``pictures/<name>``; they are made only where it is."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            # not by log_image, which moves W&B's own step
            logger.experiment.log({f"pictures/{name}": make(), "trainer/global_step": trainer.global_step})
