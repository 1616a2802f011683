"""A small net for attacks to fool: the digits of 8 x 8 pixels, learnt in half a second."""

import functools

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from visionlab.attacks.losses import cross_entropy
from visionlab.attacks.model import Classifier

IMAGES = 40


@functools.cache
def digits():
    """``(1797, 1, 8, 8)`` in [0, 1], and the labels."""
    data = load_digits()
    return torch.tensor(data.images / 16, dtype=torch.float32)[:, None], torch.tensor(data.target)


@functools.cache
def net():
    """Trained on all but the last 397 digits."""
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(0)
        layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.1),
            nn.Linear(256, 10),
        )
        optimizer = torch.optim.Adam(layers.parameters(), 3e-3)
        images, labels = digits()
        for _ in range(6):
            for some in torch.randperm(1400).split(64):
                optimizer.zero_grad()
                F.cross_entropy(layers(images[some]), labels[some]).backward()
                optimizer.step()
        optimizer.zero_grad()
    return layers.eval()


def victim(loss=cross_entropy, targets=None):
    """The net as an attack sees it, and images that it has not seen, most of which it gets right."""
    images, labels = digits()
    ids = torch.arange(1500, 1500 + IMAGES)
    return Classifier(net(), labels[ids], ids, loss, targets), images[ids]


def verdicts(model, images):
    """``(n,)`` ``bool``: which are fooled."""
    with torch.no_grad():
        return model.fooled(model.logits(images))
