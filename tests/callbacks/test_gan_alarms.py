"""A game that is lost is told, once, with the checkpoint from before."""

import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from visionlab.callbacks.gan_alarms import STEPS, GANAlarms


class Generator(nn.Module):
    """Draws as many different images as it is told."""

    def __init__(self, different):
        super().__init__()
        self.net, self.can_be_won, self.different = nn.Identity(), True, different

    def generate_numbered(self, numbers):
        return torch.stack([image(i % self.different) for i in numbers])


def image(number):
    return torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(number))


class Images:
    def __len__(self):
        return 100

    def image(self, index):
        return (255 * image(1000 + index).permute(1, 2, 0)).byte().numpy()


class Numbers:
    def __init__(self):
        self.logged = []

    def log_metrics(self, metrics, step):
        self.logged.append(metrics["val/diversity"])


@pytest.fixture
def trainer():
    Path("last.ckpt").write_text("step 0")
    return SimpleNamespace(
        global_step=0, current_epoch=0, log_every_n_steps=50, callback_metrics={}, callbacks=[], loggers=[Numbers()],
        is_global_zero=True, sanity_checking=False, state=SimpleNamespace(fn="fit"),
        datamodule=SimpleNamespace(datasets={"val": Images()}),
    )  # fmt: skip


def train(alarms, trainer, steps, loss, task):
    for _ in range(steps // 50):
        trainer.global_step += 50
        trainer.callback_metrics["train/discriminator"] = torch.tensor(loss)
        alarms.on_train_batch_end(trainer, task)
        Path("last.ckpt").unlink()
        Path("last.ckpt").write_text(f"step {trainer.global_step}")


def test_a_discriminator_that_wins_for_long_is_told_once_with_the_checkpoint_from_before(trainer):
    alarms, task = GANAlarms(Path()), Generator(256)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(alarms, trainer, STEPS, 0.001, task)
        train(alarms, trainer, 50, 0.5, task)
        train(alarms, trainer, STEPS, 0.001, task)
    with pytest.warns(UserWarning, match=f"won: .* since step {STEPS + 100}, .* checkpoint is good.ckpt"):
        train(alarms, trainer, 50, 0.001, task)
    assert Path("good.ckpt").read_text() == f"step {STEPS + 50}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(alarms, trainer, 2 * STEPS, 0.001, task)


def test_a_game_whose_loss_says_nothing_is_left_alone(trainer):
    alarms, task = GANAlarms(Path()), Generator(256)
    task.can_be_won = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(alarms, trainer, 4 * STEPS, -3.0, task)


def test_few_different_images_are_told_and_diversity_is_a_share_of_that_of_real_ones(trainer):
    alarms, task = GANAlarms(Path()), Generator(256)
    alarms.on_validation_end(trainer, task)
    assert trainer.loggers[0].logged[0] == pytest.approx(1, abs=0.1)
    task.different = 1
    alarms.on_validation_end(trainer, task)
    again = GANAlarms(Path())
    again.load_state_dict(alarms.state_dict())
    again.on_validation_end(trainer, task)
    with pytest.warns(UserWarning, match="collapsed .*, 0% as diverse .* for 3 .* checkpoint is good.ckpt"):
        again.on_validation_end(trainer, task)
    task.different = 2
    again.on_validation_end(trainer, task)
    assert trainer.loggers[0].logged[-1] == pytest.approx(
        np.var([image(0).numpy(), image(1).numpy()], axis=0).mean() / (1 / 12), rel=0.1
    )
