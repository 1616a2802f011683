"""Twins of MNIST and Fashion-MNIST: digits in strokes, clothes in textured outlines, in gzipped idx files."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from visionlab.data.layouts.mnist import FASHION_MNIST, MNIST, SIDE, SPLITS, Mnist
from visionlab.data.twins.drawing import TEXTURES, FloatArray, natural_noise
from visionlab.data.twins.plan import labels_by_split, refuse_to_overwrite

Point = tuple[float, float]

FINE = 4
"""Drawn at so many times the resolution, then averaged."""


def make_mnist(root: Path, images: int, seed: int) -> None:
    """Write a twin of MNIST: digits in strokes of varied slant, size, weight and brightness.

    Args:
        root: the folder in which ``MNIST/raw`` appears.
        images: for training; a quarter as many for testing, and at least one of each class.
        seed: the same seed gives the same bytes.

    Raises:
        FileExistsError: if a file is there already.
        ValueError: if there are too few images for the classes.
    """
    _make(MNIST, root, images, seed, _digit)


def make_fashion_mnist(root: Path, images: int, seed: int) -> None:
    """Write a twin of Fashion-MNIST: outlines of clothes, of varied texture and brightness.

    Arguments and errors are those of :func:`make_mnist`; the folder is ``FashionMNIST/raw``.
    """
    _make(FASHION_MNIST, root, images, seed, _garment)


Painter = Callable[[np.random.Generator, int], npt.NDArray[np.uint8]]


def _make(layout: Mnist, root: Path, images: int, seed: int, paint: Painter) -> None:
    folder = root / layout.folder
    refuse_to_overwrite(
        folder / f"{file}{suffix}" for files in SPLITS.values() for file in files for suffix in ("", ".gz")
    )
    rng = np.random.default_rng(seed)
    labels = labels_by_split(rng, images, len(layout.classes))
    folder.mkdir(parents=True, exist_ok=True)
    for split, files in SPLITS.items():
        pixels = np.stack([paint(rng, label) for label in labels[split].tolist()])
        for file, array in zip(files, (pixels, labels[split].astype(np.uint8)), strict=True):
            (folder / f"{file}.gz").write_bytes(gzip.compress(_idx(array), mtime=0))


def _idx(array: npt.NDArray[np.uint8]) -> bytes:
    sizes = b"".join(size.to_bytes(4) for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def _arc(x: float, y: float, width: float, height: float, start: float, end: float) -> list[Point]:
    """Points on an ellipse, from one angle to another, in degrees clockwise from the right."""
    angles = np.deg2rad(np.linspace(start, end, 14))
    return [(x + width * float(np.cos(angle)), y + height * float(np.sin(angle))) for angle in angles]


STROKES: tuple[tuple[list[Point], ...], ...] = (
    (_arc(0.5, 0.5, 0.27, 0.4, -90, 270),),
    ([(0.36, 0.24), (0.54, 0.1), (0.54, 0.9)],),
    ([*_arc(0.5, 0.33, 0.25, 0.23, -170, 35), (0.25, 0.88), (0.78, 0.88)],),
    ([*_arc(0.47, 0.3, 0.24, 0.2, -150, 80), *_arc(0.47, 0.7, 0.28, 0.21, -80, 150)],),
    ([(0.64, 0.9), (0.64, 0.1), (0.2, 0.62), (0.84, 0.62)],),
    ([(0.76, 0.1), (0.32, 0.1), (0.29, 0.46), *_arc(0.47, 0.66, 0.27, 0.24, -100, 150)],),
    ([(0.66, 0.1), (0.36, 0.44), *_arc(0.5, 0.68, 0.22, 0.21, -180, 180)],),
    ([(0.2, 0.12), (0.8, 0.12), (0.42, 0.9)],),
    (_arc(0.5, 0.3, 0.2, 0.19, 90, 450), _arc(0.5, 0.7, 0.25, 0.21, -90, 270)),
    ([*_arc(0.5, 0.32, 0.22, 0.21, 0, 360), (0.68, 0.6), (0.56, 0.9)],),
)
"""The strokes of each digit, in a box of side 1, with y downwards."""


def _mirrored(*right: Point) -> list[Point]:
    """An outline from its right half: from the middle of the top to that of the bottom, with x from the middle."""
    return [(0.5 + x, y) for x, y in right] + [(0.5 - x, y) for x, y in reversed(right)]


OUTLINES: tuple[tuple[list[Point], ...], ...] = (
    (_mirrored((0.12, 0.14), (0.2, 0.1), (0.48, 0.24), (0.41, 0.42), (0.27, 0.36), (0.27, 0.92)),),  # T-shirt
    (_mirrored((0.2, 0.05), (0.27, 0.96), (0.08, 0.96), (0.01, 0.32)),),  # trouser
    (
        _mirrored((0.12, 0.1), (0.22, 0.08), (0.4, 0.24), (0.48, 0.88), (0.35, 0.9), (0.28, 0.44), (0.28, 0.92)),
    ),  # pullover
    (_mirrored((0.1, 0.04), (0.17, 0.04), (0.12, 0.38), (0.33, 0.96)),),  # dress
    (  # coat, open in front
        [(0.48, 0.12), (0.3, 0.06), (0.12, 0.2), (0.04, 0.8), (0.16, 0.82), (0.22, 0.42), (0.18, 0.98), (0.48, 0.98)],
        [(0.52, 0.12), (0.7, 0.06), (0.88, 0.2), (0.96, 0.8), (0.84, 0.82), (0.78, 0.42), (0.82, 0.98), (0.52, 0.98)],
    ),
    (  # sandal
        [(0.02, 0.72), (0.98, 0.84), (0.98, 0.92), (0.02, 0.84)],
        [(0.5, 0.82), (0.64, 0.5), (0.7, 0.5), (0.62, 0.84)],
        [(0.78, 0.84), (0.64, 0.5), (0.7, 0.46), (0.9, 0.86)],
        [(0.04, 0.76), (0.1, 0.4), (0.18, 0.4), (0.14, 0.78)],
    ),
    (
        _mirrored((0.0, 0.34), (0.12, 0.05), (0.24, 0.1), (0.48, 0.56), (0.38, 0.62), (0.26, 0.42), (0.26, 0.96)),
    ),  # shirt
    (
        [(0.02, 0.42), (0.16, 0.4), (0.3, 0.52), (0.5, 0.42), (0.7, 0.6), (0.96, 0.68), (0.98, 0.8), (0.02, 0.8)],
    ),  # sneaker
    (  # bag
        [(0.06, 0.4), (0.94, 0.4), (0.98, 0.9), (0.02, 0.9)],
        [*_arc(0.5, 0.4, 0.3, 0.3, 180, 360), *_arc(0.5, 0.4, 0.22, 0.22, 360, 180)],
    ),
    ([(0.14, 0.08), (0.5, 0.08), (0.52, 0.5), (0.94, 0.68), (0.96, 0.92), (0.12, 0.92)],),  # ankle boot
)
"""The outlines of each garment, in a box of side 1, with y downwards."""


def _digit(rng: np.random.Generator, label: int) -> npt.NDArray[np.uint8]:
    place = _placement(rng, size=(16, 21), slant=0.25, turn=0.15)
    canvas = Image.new("L", (SIDE * FINE, SIDE * FINE))
    draw = ImageDraw.Draw(canvas)
    weight = round(FINE * rng.uniform(1.8, 3.4))
    for stroke in STROKES[label]:
        points = place(np.array(stroke) + rng.normal(0, 0.012, (len(stroke), 2)))
        draw.line(points, fill=255, width=weight, joint="curve")
        for x, y in (points[0], points[-1]):
            draw.circle((x, y), weight / 2, fill=255)
    ink = np.asarray(canvas.reduce(FINE), dtype=np.float64)
    return (ink * rng.uniform(0.75, 1)).astype(np.uint8)


def _garment(rng: np.random.Generator, label: int) -> npt.NDArray[np.uint8]:
    place = _placement(rng, size=(22, 27), slant=0.06, turn=0.05)
    canvas = Image.new("L", (SIDE * FINE, SIDE * FINE))
    draw = ImageDraw.Draw(canvas)
    for outline in OUTLINES[label]:
        draw.polygon(place(np.array(outline)), fill=255)
    inside = np.asarray(canvas.reduce(FINE), dtype=np.float64) / 255
    y, x = np.mgrid[:SIDE, :SIDE] + rng.uniform(0, 6, (2, 1, 1))
    texture = TEXTURES[rng.integers(len(TEXTURES))](x, y)
    cloth = rng.uniform(110, 200) + rng.uniform(0, 45) * texture + 12 * natural_noise(rng, SIDE, SIDE, 1)[..., 0]
    return np.clip(inside * cloth, 0, 255).astype(np.uint8)


def _placement(
    rng: np.random.Generator, size: tuple[float, float], slant: float, turn: float
) -> Callable[[FloatArray], list[Point]]:
    """A random similarity with slant, from the box of side 1 to the pixels of the canvas.

    Args:
        rng: draws it.
        size: the least and the greatest width and height of the box, in pixels of the image.
        slant: the greatest, in heights.
        turn: the greatest, in radians.
    """
    width, height = rng.uniform(*size, 2)
    angle, lean = rng.uniform(-turn, turn), rng.uniform(-slant, slant)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = rotation @ np.array([[1, -lean], [0, 1]]) @ np.diag([width, height])
    middle = SIDE / 2 + rng.uniform(-1, 1, 2)

    def place(points: FloatArray) -> list[Point]:
        return [(x, y) for x, y in (((points - 0.5) @ matrix.T + middle) * FINE).tolist()]

    return place
