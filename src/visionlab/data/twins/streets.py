"""Streets in which every pixel has one of CamVid's classes: what the twin of a dense segmentation data set is drawn
with.

A class is told by its texture, its place and its outline; its colours are random, from one distribution for all.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from visionlab.data.twins.drawing import TEXTURES, BoolArray, FloatArray, Texture, natural_noise

UInt8Array = npt.NDArray[np.uint8]

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST, UNLABELLED = range(12)

MATERIALS: dict[int, Texture] = {
    SKY: TEXTURES[9],  # plain
    BUILDING: TEXTURES[4],  # checkers
    POLE: TEXTURES[0],  # stripes across
    ROAD: TEXTURES[6],  # broad stripes across
    PAVEMENT: TEXTURES[5],  # dots
    TREE: lambda x, y: np.sin(1.1 * x + 2 * np.sin(0.9 * y)) * np.sin(1.2 * y + 2 * np.sin(0.7 * x)),  # leaves
    SIGN: TEXTURES[8],  # zigzag
    FENCE: TEXTURES[1],  # stripes down
    CAR: TEXTURES[7],  # broad stripes down
    PEDESTRIAN: TEXTURES[2],  # diagonal stripes
    BICYCLIST: TEXTURES[3],  # crosshatch
    UNLABELLED: TEXTURES[9],
}

Outline = Callable[[FloatArray, FloatArray], BoolArray]
"""Whether a place is inside; 1 is the object's height, its foot is at the origin, and y points down."""


def draw_street(rng: np.random.Generator, height: int, width: int) -> tuple[UInt8Array, UInt8Array]:
    """Draw a street from the driver's seat: sky, buildings, trees and fences at its sides, pavements, poles with signs,
    and cars, pedestrians and bicyclists that are the larger the nearer they are.

    Returns:
        The image, ``(H, W, 3)`` RGB, and the classes, ``(H, W)``: 0 to 10 in SegNet's order, and 11 for unlabelled.
    """
    street = _Street(rng, height, width)
    x, y = street.x, street.y
    horizon = rng.uniform(0.38, 0.5)
    vanishing = street.width * rng.uniform(0.35, 0.65)

    street.paint(SKY, np.full(x.shape, True))
    edge = rng.uniform(-0.2, 0)
    while edge < street.width:  # a row of buildings, lowest far away
        next_edge = edge + rng.uniform(0.12, 0.35)
        away = np.clip(abs((edge + next_edge) / 2 - vanishing), 0.1, 0.5)
        if rng.uniform() < 0.85:
            street.paint(BUILDING, (x > edge) & (x < next_edge) & (y > horizon - away * rng.uniform(0.5, 1.1)))
        edge = next_edge
    for _ in range(rng.integers(1, 4)):
        middle, radius = street.aside(vanishing, 0.15), rng.uniform(0.1, 0.18)
        ragged = radius * (1 + 0.2 * street.noise[..., 3])
        crown = np.hypot(x - middle, y - horizon + radius) < ragged
        street.paint(TREE, crown | ((np.abs(x - middle) < 0.02) & (y > horizon - radius)))
    side = rng.choice([-1, 1])
    street.paint(FENCE, (side * (x - vanishing) > rng.uniform(0.1, 0.3)) & (y > horizon - rng.uniform(0.06, 0.12)))

    street.paint(PAVEMENT, y > horizon + 0.02)
    half, bend = rng.uniform(0.5, 0.8), rng.uniform(-0.1, 0.1)
    near = np.clip((y - horizon) / (1 - horizon), 0, 1)  # 0 on the horizon, 1 at the lower edge
    street.paint(ROAD, (y > horizon) & (np.abs(x - vanishing - bend * near) < 0.03 + half * near))

    things = [(street.on_pavement(half), _pole, POLE, 0.9) for _ in range(rng.integers(1, 4))]
    things += [(street.on_road(half), _car, CAR, 0.45) for _ in range(rng.integers(1, 4))]
    things += [(street.on_pavement(half), _pedestrian, PEDESTRIAN, 0.6) for _ in range(rng.integers(1, 4))]
    things += [(street.on_road(half), _bicyclist, BICYCLIST, 0.6) for _ in range(rng.integers(0, 3))]
    for (depth, across), outline, label, size in sorted(things, key=lambda thing: thing[0][0]):
        foot = horizon + depth * (1 - horizon)
        tall = size * (0.15 + depth)
        left = vanishing + (across + bend) * depth
        u, v = (x - left) / tall, (y - foot) / tall
        street.paint(label, outline(u, v))
        if label == POLE and rng.uniform() < 0.8:
            street.paint(SIGN, SIGNS[rng.integers(len(SIGNS))](u / 0.16, (v + 0.85) / 0.16))
    bonnet = np.hypot((x - street.width / 2) / street.width, (y - 1) * rng.uniform(3, 6)) < rng.uniform(0.25, 0.45)
    street.paint(UNLABELLED, bonnet)
    return np.clip(street.pixels, 0, 255).astype(np.uint8), street.classes


class _Street:
    """Pixels and their classes; places are in heights of the image, so that x runs from 0 to ``width``."""

    def __init__(self, rng: np.random.Generator, height: int, width: int) -> None:
        self.rng = rng
        self.width = width / height
        down, across = np.mgrid[:height, :width]
        self.x: FloatArray = (across + 0.5) / height
        self.y: FloatArray = (down + 0.5) / height
        self.noise = natural_noise(rng, height, width, 4)
        self.unit = max(1.5, height / 90) / height  # of textures, so that stripes are at least four pixels wide
        self.pixels: FloatArray = np.zeros((height, width, 3))
        self.classes = np.full((height, width), UNLABELLED, np.uint8)

    def paint(self, label: int, inside: BoolArray) -> None:
        """Give the pixels ``inside`` a class, with its texture in random colours."""
        rng = self.rng
        phase = rng.uniform(0, 6, 2)
        stripes = MATERIALS[label](self.x[inside] / self.unit + phase[0], self.y[inside] / self.unit + phase[1])
        contrast = rng.uniform(35, 60, 3) * rng.choice([-1, 1])
        grain = 12 * self.noise[..., :3][inside]
        self.pixels[inside] = rng.uniform(60, 195, 3) + contrast * stripes[:, None] + grain
        self.classes[inside] = label

    def aside(self, vanishing: float, least: float) -> float:
        """A place along the horizon, at least so far from where the road vanishes."""
        x = self.rng.uniform(0, self.width - 2 * least)
        return float(x if x < vanishing - least else x + 2 * least)

    def on_road(self, half: float) -> tuple[float, float]:
        """How near something on the road is, from 0 to 1, and where across, in widths at the lower edge."""
        return self.rng.uniform(0.08, 0.7), self.rng.uniform(-0.7, 0.7) * half

    def on_pavement(self, half: float) -> tuple[float, float]:
        """The same of something beside the road."""
        return self.rng.uniform(0.08, 0.6), (half + self.rng.uniform(0.1, 0.5)) * self.rng.choice([-1, 1])


def _pole(x: FloatArray, y: FloatArray) -> BoolArray:
    return (np.abs(x) < 0.025) & (y < 0) & (y > -1)


def _car(x: FloatArray, y: FloatArray) -> BoolArray:
    body = (np.abs(x) < 0.95) & (y < -0.12) & (y > -0.6)
    cabin = (np.abs(x) < 0.75 + 0.5 * (y + 0.6)) & (y <= -0.6) & (y > -1)
    wheels = np.hypot(np.abs(x) - 0.55, y + 0.16) < 0.16
    return body | cabin | wheels


def _pedestrian(x: FloatArray, y: FloatArray) -> BoolArray:
    head = np.hypot(x, y + 0.9) < 0.1
    trunk = (np.abs(x) < 0.15) & (y < -0.4) & (y > -0.8)
    legs = (np.abs(np.abs(x) - 0.09) < 0.05) & (y < 0) & (y >= -0.4)
    return head | trunk | legs


def _bicyclist(x: FloatArray, y: FloatArray) -> BoolArray:
    wheels = np.abs(np.hypot(np.abs(x) - 0.28, y + 0.2) - 0.16) < 0.05
    frame = (np.abs(x) < 0.28) & (np.abs(y + 0.33) < 0.05)
    rider = (np.abs(x) < 0.13) & (y < -0.33) & (y > -0.8)
    return wheels | frame | rider | (np.hypot(x, y + 0.9) < 0.1)


SIGNS: tuple[Outline, ...] = (
    lambda x, y: np.hypot(x, y) < 1,
    lambda x, y: np.maximum(np.abs(x), np.abs(y)) < 0.9,
    lambda x, y: (y < 0.7) & (1.7 * np.abs(x) - y < 0.9),
)
