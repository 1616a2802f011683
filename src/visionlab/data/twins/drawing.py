"""What twins are painted with: natural backgrounds, textures, and shapes, with numpy alone."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def natural_noise(rng: np.random.Generator, height: int, width: int, channels: int) -> FloatArray:
    """Noise whose amplitude falls as one over the spatial frequency, as it does in photographs (Field 1987).

    Returns:
        ``(height, width, channels)``, of mean 0 and variance 1 in each channel; the channels are correlated, as colours
        are. It continues over its edges: the last row goes before the first.
    """
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequencies[0, 0] = np.inf  # no mean
    white = np.fft.rfft2(rng.standard_normal((channels + 1, height, width)))
    noise = np.fft.irfft2(white / frequencies, s=(height, width))
    mixed = noise[:1] + 0.5 * noise[1:]  # mostly the same brightness in all channels
    mixed /= mixed.std(axis=(1, 2), keepdims=True)
    return np.ascontiguousarray(mixed.transpose(1, 2, 0))


Texture = Callable[[FloatArray, FloatArray], FloatArray]

TEXTURES: tuple[Texture, ...] = (
    lambda x, y: np.sin(2.2 * y),  # stripes across
    lambda x, y: np.sin(2.2 * x),  # stripes down
    lambda x, y: np.sin(1.6 * (x + y)),  # diagonal stripes
    lambda x, y: np.maximum(np.sin(1.6 * (x + y)), np.sin(1.6 * (x - y))),  # crosshatch
    lambda x, y: np.sign(np.sin(1.3 * x) * np.sin(1.3 * y)),  # checkers
    lambda x, y: 4 * np.clip(np.sin(1.3 * x) * np.sin(1.3 * y) - 0.5, -0.25, 0.25),  # dots
    lambda x, y: np.sin(1.0 * y),  # broad stripes across
    lambda x, y: np.sin(1.0 * x),  # broad stripes down
    lambda x, y: np.sin(2.0 * y + 2 * np.abs((0.5 * x) % 2 - 1)),  # zigzag
    lambda x, y: np.zeros_like(x),  # plain
)
"""Brightness in [-1, 1] at a place, in pixels. None is the mirror image of another: training may flip."""


Shape = Callable[[FloatArray, FloatArray], BoolArray]

SHAPES: tuple[Shape, ...] = (
    lambda x, y: np.hypot(x, y) < 0.9,  # disc
    lambda x, y: np.abs(np.hypot(x, y) - 0.7) < 0.28,  # ring
    lambda x, y: np.maximum(np.abs(x), np.abs(y)) < 0.8,  # square
    lambda x, y: (y < 0.6) & (1.7 * np.abs(x) - y < 1),  # triangle
    lambda x, y: (np.minimum(np.abs(x), np.abs(y)) < 0.3) & (np.maximum(np.abs(x), np.abs(y)) < 1),  # plus
    lambda x, y: (np.abs(np.abs(x) - np.abs(y)) < 0.4) & (np.hypot(x, y) < 1.1),  # cross
    lambda x, y: np.hypot(x, y) < 0.65 + 0.35 * np.cos(5 * (np.arctan2(y, x) + np.pi / 2)),  # star
    lambda x, y: (np.hypot(x, y) < 1) & (np.hypot(x - 0.5, y) > 0.75),  # crescent
    lambda x, y: (np.abs(x) < 1) & (np.abs(y) < 0.4),  # bar
    lambda x, y: np.hypot(x, np.abs(y) - 0.55) < 0.5,  # eight
)
"""Whether a place is inside, whose coordinates are about -1 to 1."""


def paint(rng: np.random.Generator, side: int, shape: Shape, texture: Texture) -> npt.NDArray[np.uint8]:
    """A textured shape at a random place, of random size, slant and colours, before a natural background.

    The colours of shape and background come from one distribution, so that no colour tells the class, or even where the
    shape is.

    Returns:
        ``(side, side, 3)``.
    """
    radius = side * rng.uniform(0.26, 0.44)
    left, top = rng.uniform(radius, side - radius, 2)
    slant = rng.uniform(-0.2, 0.2)
    down, across = np.mgrid[:side, :side].astype(np.float64)
    x, y = across + 0.5 - left, down + 0.5 - top
    x, y = x * np.cos(slant) - y * np.sin(slant), x * np.sin(slant) + y * np.cos(slant)
    inside = shape(x / radius, y / radius)[..., None]
    stripes = texture(x + rng.uniform(0, 6), y + rng.uniform(0, 6))[..., None]
    behind, colour = rng.uniform(60, 195, (2, 3))
    contrast = rng.uniform(35, 60, 3) * rng.choice([-1, 1])
    background = behind + 30 * natural_noise(rng, side, side, 3)
    object_ = colour + contrast * stripes + 10 * natural_noise(rng, side, side, 3)
    pixels: npt.NDArray[np.uint8] = np.clip(np.where(inside, object_, background), 0, 255).astype(np.uint8)
    return pixels
