"""One colour a class, for any number of classes, as far apart as they go for people with any kind of colour vision."""

from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from visionlab.pictures.colours import BLACK, BLUE, GREEN, ORANGE, PAPER, PURPLE, SKY_BLUE, VERMILLION, Colour

FIRST = (VERMILLION, SKY_BLUE, GREEN, ORANGE, PURPLE, BLUE)
DISTINCT = 128
"""How many colours there are; then they start again."""

LIGHTNESS = (30, 92)
"""In CIELAB, of the further colours: neither lost in shadows nor on snow."""

# what protanopes and deuteranopes see of linear red, green and blue: Machado, Oliveira and Fernandes 2009, "A
# Physiologically-based Model for Simulation of Color Vision Deficiency", table 1, severity 1.0
PROTANOPIA = ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))
DEUTERANOPIA = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))


def class_colour(label: int) -> Colour:
    """The colour of a class, which depends on nothing but its label, from 0.

    The first six are Okabe and Ito's. Each further one is the colour that is farthest from all before it, and from
    black and white (Glasbey et al. 2007, "Colour displays for categorical images"), where two colours are as far apart
    as they look in CIELAB to the one who tells them apart least: with normal vision, without red cones, or without
    green ones.
    """
    return _colours()[label % DISTINCT]


def linear(colours: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """The amounts of light in colours, in [0, 1]: sRGB undone (IEC 61966-2-1)."""
    unit = colours / 255
    return np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)


@cache
def _colours() -> list[Colour]:
    levels = np.linspace(0, 255, 12).round().astype(np.uint8)  # 1,728 candidates, a few ms
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    chosen = [*FIRST]
    seen = _seen(np.concatenate([np.array([*FIRST, BLACK, PAPER], np.uint8), candidates]))
    taken, free = np.split(seen, [-len(candidates)])
    useful = (free[:, 0, 0] >= LIGHTNESS[0]) & (free[:, 0, 0] <= LIGHTNESS[1])
    candidates, free = candidates[useful], free[useful]
    nearest = np.min([_distance(free, one) for one in taken], axis=0)
    while len(chosen) < DISTINCT:
        best = int(nearest.argmax())
        red, green, blue = candidates[best].tolist()
        chosen.append((red, green, blue))
        nearest = np.minimum(nearest, _distance(free, free[best]))
    return chosen


def _seen(colours: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """``(N, 3)`` colours as three kinds of eyes see them: ``(N, 3 eyes, 3)`` in CIELAB."""
    light = linear(colours)
    eyes = np.stack([light, light @ np.array(PROTANOPIA).T, light @ np.array(DEUTERANOPIA).T], axis=1)
    return np.asarray(cv2.cvtColor(eyes.clip(0, 1).astype(np.float32), cv2.COLOR_LRGB2LAB))


def _distance(colours: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """How far ``(N, 3, 3)`` colours are from one, to the eyes that tell them apart least: ``(N,)``."""
    apart: npt.NDArray[np.float32] = np.linalg.norm(colours - other, axis=-1).min(axis=-1)
    return apart
