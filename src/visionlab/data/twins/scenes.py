"""Scenes of textured, overlapping objects of many sizes, with the mask and box of each: what the twins of detection,
segmentation, keypoint and large-image data sets are drawn with.

The colours of objects and backgrounds come from one distribution, so that no colour tells a class, or even where an
object is. Images, masks and boxes are a function of the generator's state.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visionlab.data.twins.drawing import SHAPES, TEXTURES, BoolArray, FloatArray, Shape, Texture, natural_noise

UInt8Array = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]

CLASSES = len(SHAPES) * len(TEXTURES)
"""How many classes of objects can be told apart."""

VISIBLE = 0.4
"""Of what is inside the image of an object, at least this much is not covered."""

ATTEMPTS = 300
"""How often a place is sought for an object, which gets smaller and smaller."""

PARTS = 16
"""More than any object has."""


@dataclass(frozen=True)
class Scene:
    """An image and the objects in it.

    image: ``(H, W, 3)``, RGB.
    labels: ``(n,)``, the classes.
    masks: ``(n, H, W)``, the visible part of each object, which later ones may cover; never empty, and disjoint.
    boxes: ``(n, 4)``, left, top, right, bottom of the masks, between pixels: the right is the last column plus 1.
    """

    image: UInt8Array
    labels: IntArray
    masks: BoolArray
    boxes: FloatArray


@dataclass(frozen=True)
class PersonScene(Scene):
    """A scene with people.

    keypoints: ``(n, 17, 3)`` in COCO's order: x, y and visibility, which is 2 where the joint is seen, 1 where it is
        covered, and 0, with x and y, where it is outside the image, and for objects that are no people.
    """

    keypoints: FloatArray


def motif(label: int) -> tuple[Shape, Texture]:
    """The shape and the texture of a class: the first ten classes share neither, all share at most one.

    Raises:
        ValueError: if the class is not in ``0..CLASSES-1``.
    """
    if not 0 <= label < CLASSES:
        raise ValueError(f"class {label} cannot be drawn: there are {CLASSES}, from 0")
    return SHAPES[label % 10], TEXTURES[(label + label // 10) % 10]


def draw_scene(rng: np.random.Generator, height: int, width: int, labels: Sequence[int]) -> Scene:
    """Draw one object for each entry of ``labels``, of radii from 8 % to 45 % of the short side; later ones may cover
    earlier ones.

    Raises:
        ValueError: if a class cannot be drawn, or there is no room.
    """
    canvas = _Canvas(rng, height, width)
    for label in labels:
        _add_object(canvas, label, (0.08, 0.45))
    return canvas.scene(labels)


def draw_object(rng: np.random.Generator, height: int, width: int, label: int) -> Scene:
    """Draw one object that fills much of the image, for classification.

    Raises:
        ValueError: if the class cannot be drawn.
    """
    canvas = _Canvas(rng, height, width)
    _add_object(canvas, label, (0.26, 0.48))
    return canvas.scene([label])


def draw_person_scene(
    rng: np.random.Generator, height: int, width: int, people: int, others: Sequence[int] = ()
) -> PersonScene:
    """Draw people among other objects.

    Left limbs are wound with stripes like a left-handed screw, right limbs like a right-handed one: so left and right
    can be told from the front, from behind and in any pose, and a mirror image, whose left and right keypoints are
    swapped, is again a person.

    Args:
        rng: draws.
        height: of the image.
        width: of the image.
        people: their number; their class is 0, and they come first.
        others: the classes of the other objects, as in :func:`draw_scene`, whose class 0 is a disc and no person.

    Raises:
        ValueError: if a class cannot be drawn, or there is no room.
    """
    canvas = _Canvas(rng, height, width)
    labels = np.array([0] * people + list(others), np.int64)
    keypoints = np.zeros((len(labels), 17, 3))
    order = rng.permutation(len(labels))  # anyone may cover anyone
    for i in order.tolist():
        if i < people:
            keypoints[i] = _add_person(canvas)
        else:
            _add_object(canvas, others[i - people], (0.08, 0.35))
    drawn = np.argsort(order)
    for i in range(people):
        _hide(keypoints[i], canvas.cover, PARTS * drawn[i])
    scene = canvas.scene(labels[order])
    return PersonScene(scene.image, labels, scene.masks[drawn], scene.boxes[drawn], keypoints)


class _Canvas:
    """Pixels, and what covers each: :data:`PARTS` times the object, plus the part of it, or a negative number."""

    def __init__(self, rng: np.random.Generator, height: int, width: int) -> None:
        self.rng = rng
        self.size = height, width
        noise = natural_noise(rng, height, width, 4)
        self.grain = noise[..., :3]
        self.pixels: FloatArray = _ground(rng, noise[..., 3]) + 30 * self.grain
        self.cover: IntArray = np.full((height, width), -PARTS)
        self.areas: list[int] = []

    def window(self, x: float, y: float, reach: float) -> tuple[tuple[slice, slice], FloatArray, FloatArray]:
        """The rows and columns of the canvas within ``reach`` of a place, and where they are as seen from it."""
        rows = slice(max(int(y - reach), 0), min(int(y + reach) + 2, self.size[0]))
        columns = slice(max(int(x - reach), 0), min(int(x + reach) + 2, self.size[1]))
        down, across = np.mgrid[rows, columns]
        return (rows, columns), across + 0.5 - x, down + 0.5 - y

    def add(self, window: tuple[slice, slice], parts: IntArray) -> bool:
        """Cover pixels with the next object, unless it would be too small, or hide another too much.

        Args:
            window: rows and columns.
            parts: of the object there, negative outside it.

        Returns:
            Whether it was added.
        """
        inside = parts >= 0
        area = int(np.count_nonzero(inside))
        covers = np.bincount(self.cover[window][inside] // PARTS + 1, minlength=len(self.areas) + 1)[1:]
        seen = np.bincount(self.cover.ravel() // PARTS + 1, minlength=len(self.areas) + 1)[1:]
        if area < 8 or (seen - covers < VISIBLE * np.array(self.areas)).any():
            return False
        self.cover[window][inside] = PARTS * len(self.areas) + parts[inside]
        self.areas.append(area)
        return True

    def paint(self, window: tuple[slice, slice], inside: BoolArray, colours: FloatArray) -> None:
        """Give the pixels ``inside`` some colours, with the grain of another place."""
        down, across = self.rng.integers(0, self.size)
        rows = (np.arange(window[0].start, window[0].stop) + down) % self.size[0]
        columns = (np.arange(window[1].start, window[1].stop) + across) % self.size[1]
        grain = self.grain[np.ix_(rows, columns)]
        self.pixels[window][inside] = (colours + 10 * grain)[inside]

    def scene(self, labels: Sequence[int] | IntArray) -> Scene:
        """What was drawn, given the class of each object."""
        masks = self.cover // PARTS == np.arange(len(labels))[:, None, None]
        boxes = np.zeros((len(labels), 4))
        for box, mask in zip(boxes, masks, strict=True):
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        return Scene(np.clip(self.pixels, 0, 255).astype(np.uint8), np.array(labels, np.int64), masks, boxes)


def _ground(rng: np.random.Generator, ragged: FloatArray) -> FloatArray:
    """Patches of different colours, as large as objects, with ragged edges: so no place is told by its mere colour."""
    height, width = ragged.shape
    count = rng.integers(4, 13)
    down, across = np.mgrid[:height, :width] + 0.06 * min(height, width) * ragged
    distances = [(down - y) ** 2 + (across - x) ** 2 for y, x in rng.uniform((0, 0), (height, width), (count, 2))]
    nearest = np.argmin(distances, axis=0)
    ground: FloatArray = rng.uniform(60, 195, (count, 3))[nearest]
    return ground


def _add_object(canvas: _Canvas, label: int, radii: tuple[float, float]) -> None:
    shape, texture = motif(label)
    rng, (height, width) = canvas.rng, canvas.size
    for attempt in range(ATTEMPTS):
        radius = _radius(rng, min(height, width), radii, attempt)
        centre = rng.uniform(radius / 2, width - radius / 2), rng.uniform(radius / 2, height - radius / 2)
        window, x, y = canvas.window(*centre, 1.12 * radius)
        slant = rng.uniform(-0.2, 0.2)
        x, y = x * np.cos(slant) - y * np.sin(slant), x * np.sin(slant) + y * np.cos(slant)
        inside = shape(x / radius, y / radius)
        if canvas.add(window, inside - 1):
            scale = max(radius / 12, 1)  # the textures are made for radii of about 12 pixels
            stripes = texture(x / scale + rng.uniform(0, 6), y / scale + rng.uniform(0, 6))
            canvas.paint(window, inside, _colours(rng, stripes))
            return
    raise ValueError(f"no room for {len(canvas.areas) + 1} objects in an image of {width}x{height} pixels")


def _radius(rng: np.random.Generator, short: int, bounds: tuple[float, float], attempt: int) -> float:
    """In pixels, from a log-uniform distribution whose upper bound nears the lower one as attempts fail."""
    least, most = np.log(bounds)
    return max(short * float(np.exp(least + rng.uniform() * (most - least) * (1 - attempt / ATTEMPTS))), 3)


def _colours(rng: np.random.Generator, stripes: FloatArray) -> FloatArray:
    """Colours whose brightness follows a texture, as in :func:`visionlab.data.twins.drawing.paint`."""
    contrast: FloatArray = rng.uniform(35, 60, 3) * rng.choice([-1, 1])
    return rng.uniform(60, 195, 3) + contrast * stripes[..., None]


HEAD, TORSO, BACK_OF_HEAD = 0, 1, 10  # the parts of a person; the others are limbs

LIMBS = (  # of the left: part, from which joint to which, and the radius in heights of the person; the right's are next
    (2, 5, 7, 0.040),  # upper arm
    (3, 7, 9, 0.034),  # forearm
    (4, 11, 13, 0.052),  # upper leg
    (5, 13, 15, 0.040),  # lower leg
)

SEEN_ON = (  # for each keypoint the parts of the person on which it is seen
    *[(HEAD,)] * 3,
    *[(HEAD, BACK_OF_HEAD)] * 2,
    *[(TORSO, 2), (TORSO, 6), (2, 3), (6, 7), (3,), (7,)],
    *[(TORSO, 4), (TORSO, 8), (4, 5), (8, 9), (5,), (9,)],
)


def _add_person(canvas: _Canvas) -> FloatArray:
    """Add a person in some pose.

    Returns:
        The keypoints, ``(17, 3)``, as if all were seen.
    """
    rng, (height, width) = canvas.rng, canvas.size
    for attempt in range(ATTEMPTS):
        tall = 2 * _radius(rng, min(height, width), (0.15, 0.5), attempt)
        centre = rng.uniform(tall / 5, width - tall / 5), rng.uniform(tall / 3, height - tall / 3)
        front = rng.uniform() < 0.7
        joints = _pose(rng, front)
        window, x, y = canvas.window(*centre, 0.65 * tall)
        x, y = x / tall, y / tall
        parts, stripes = _body(joints, x, y, tall, front, arms_behind=rng.uniform() < 0.3)
        if canvas.add(window, parts):
            colours = np.zeros((*parts.shape, 3))
            for group in ((HEAD, BACK_OF_HEAD), (TORSO,), (2, 3, 6, 7), (4, 5, 8, 9)):
                mine = np.isin(parts, group)
                colours[mine] = _colours(rng, stripes[mine])
            canvas.paint(window, parts >= 0, colours)
            return np.column_stack([joints * tall + centre, np.full(17, 2)])
    raise ValueError(f"no room for {len(canvas.areas) + 1} objects in an image of {width}x{height} pixels")


def _pose(rng: np.random.Generator, front: bool) -> FloatArray:
    """``(17, 2)`` joints in heights of the person, from the middle of the body, x to the right and y down."""
    joints = np.zeros((17, 2))
    turned = rng.uniform(0.6, 1)
    hips, shoulders = np.array([0, 0.02]), np.array([rng.uniform(-0.06, 0.06), -0.26])
    head = np.add(shoulders, (rng.uniform(-0.03, 0.03), -0.12))
    joints[0] = np.add(head, (0, 0.015))
    for left, side in ((0, 1), (1, -1)):
        out = side if front else -side  # the left is to the right of whoever looks at the front
        joints[1 + left] = np.add(head, (0.03 * out, -0.015))
        joints[3 + left] = np.add(head, (0.065 * out, 0))
        arm, elbow = rng.uniform(-0.2, 2.6), rng.uniform(0, 1.6)  # angles from straight down
        leg, knee = rng.uniform(-0.1, 0.6), rng.uniform(-0.7, 0.2)
        for first, start, angles, lengths in (
            (5, np.add(shoulders, (0.105 * turned * out, 0)), (arm, arm + elbow), (0.16, 0.15)),
            (11, np.add(hips, (0.065 * turned * out, 0)), (leg, leg + knee), (0.23, 0.22)),
        ):
            joints[first + left] = start
            for i, (angle, length) in enumerate(zip(angles, lengths, strict=True)):
                start = np.add(start, (length * np.sin(angle) * out, length * np.cos(angle)))
                joints[first + 2 * (i + 1) + left] = start
    return joints


def _body(
    joints: FloatArray, x: FloatArray, y: FloatArray, tall: float, front: bool, arms_behind: bool
) -> tuple[IntArray, FloatArray]:
    """The part of a person at each place, -1 outside, and the brightness of its texture."""
    parts = np.full(x.shape, -1)
    stripes = np.zeros(x.shape)
    limbs = [
        (part + 4 * right, joints[start + right], joints[end + right], radius, 1 - 2 * right)
        for part, start, end, radius in LIMBS
        for right in (0, 1)
    ]

    def draw(limbs: list[tuple[int, FloatArray, FloatArray, float, int]]) -> None:
        for part, start, end, radius, hand in limbs:
            along, across, length = _beside(x, y, start, end)
            inside = np.hypot(along - np.clip(along, 0, length), across) < max(radius, 1.5 / tall)
            wave = 2 * np.pi / max(0.07, 6 / tall)
            parts[inside] = part
            stripes[inside] = np.sin(wave * (along + hand * across) / np.sqrt(2))[inside]

    draw([limb for limb in limbs if limb[0] in (4, 5, 8, 9)])
    if arms_behind:
        draw(limbs[:4])
    shoulders, hips = joints[5:7].mean(0), joints[11:13].mean(0)
    along, across, length = _beside(x, y, shoulders, hips)
    half = np.abs(joints[5, 0] - joints[6, 0]) / 2 + 0.02
    torso = (along > -0.03) & (along < length + 0.03) & (np.abs(across) < half - 0.3 * (half - 0.07) * along / length)
    head = joints[3:5].mean(0)
    face = np.hypot(x - head[0], (y - head[1]) * 0.85) < 0.072
    neck = (np.abs(x - head[0]) < 0.03) & (y > head[1]) & (y < shoulders[1])
    parts[neck | torso], stripes[neck | torso] = TORSO, 0
    parts[face], stripes[face] = HEAD if front else BACK_OF_HEAD, 0
    if front:
        for joint, radius in ((0, 0.010), (1, 0.016), (2, 0.016)):
            stripes[np.hypot(x - joints[joint, 0], y - joints[joint, 1]) < max(radius, 0.8 / tall)] = 2
    if not arms_behind:
        draw(limbs[:4])
    return parts, stripes


def _beside(x: FloatArray, y: FloatArray, start: FloatArray, end: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """How far places are along and beside the way from one point to another, and how long that is."""
    length = float(np.hypot(*(end - start)))
    dx, dy = (end - start) / length
    return (x - start[0]) * dx + (y - start[1]) * dy, (y - start[1]) * dx - (x - start[0]) * dy, length


def _hide(keypoints: FloatArray, cover: IntArray, person: int) -> None:
    """Set the visibility of a person's keypoints, whose first part has the number ``person``."""
    for keypoint, parts in zip(keypoints, SEEN_ON, strict=True):
        x, y = np.floor(keypoint[:2]).astype(int)
        if not (0 <= x < cover.shape[1] and 0 <= y < cover.shape[0]):
            keypoint[:] = 0
        elif cover[y, x] - person not in parts:
            keypoint[2] = 1
