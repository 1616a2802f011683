from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from visionlab.callbacks.translations import IMAGES, ShowsImages, Translations
from visionlab.losses.adversarial import NonSaturating
from visionlab.pictures.grids import grid
from visionlab.tasks.classification import Classification
from visionlab.tasks.pix2pix import Pix2Pix


class Brighter(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.add = nn.Parameter(torch.tensor(0.2))
        self.dropout = nn.Dropout(0.9)

    def forward(self, images):
        return self.dropout(images + self.add)


def sgd(parameters):
    return torch.optim.SGD(parameters, 0.1)


def pix2pix():
    return Pix2Pix(0, Brighter, lambda _: nn.Conv2d(6, 1, 2), sgd, sgd, NonSaturating())


def pairs(count):
    images = torch.linspace(0, 0.8, count * 3 * 4 * 4).view(count, 3, 4, 4)
    return {"images": images, "target_images": (255 - 255 * images).byte(), "ids": torch.arange(count)}


def trainer(first=True, **more):
    return SimpleNamespace(is_global_zero=first, sanity_checking=False, global_step=7, loggers=[], callbacks=[], **more)


def test_the_first_images_are_drawn_beside_what_became_of_them(tmp_path):
    task, callback, batch = pix2pix(), Translations(tmp_path), pairs(10)
    callback.on_validation_batch_start(trainer(), task, batch, 0)
    callback.on_validation_batch_start(trainer(), task, pairs(3), 1)
    task.train()
    callback.on_validation_end(trainer(), task)
    assert task.net.training
    drawn = Image.open(tmp_path / "pictures" / "translations.png")
    rows = []
    for i in range(IMAGES):
        image, target = batch["images"][i], batch["target_images"][i]
        for one in (image, (image + 0.2).clamp(max=1), target / 255):
            rows.append((one * 255).round().byte().permute(1, 2, 0).numpy())
    titles = ["input", "output", "target", *[""] * (3 * IMAGES - 3)]
    assert np.array_equal(np.asarray(drawn), np.asarray(grid(rows, captions=titles, columns=3)))
    assert drawn.text["step"] == "7"


@pytest.mark.parametrize("case", ["another process", "sanity check", "nothing evaluated"])
def test_nothing_is_drawn(tmp_path, case):
    task, callback = pix2pix(), Translations(tmp_path)
    now = trainer(first=case != "another process")
    now.sanity_checking = case == "sanity check"
    if case != "nothing evaluated":
        callback.on_validation_batch_start(now, task, pairs(2), 0)
    callback.on_validation_end(now, task)
    assert not (tmp_path / "pictures").exists()


def test_tasks_say_whether_they_show_images():
    assert isinstance(pix2pix(), ShowsImages)
    assert not isinstance(Classification(2, lambda classes: nn.Linear(1, classes), sgd), ShowsImages)
