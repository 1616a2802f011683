"""Keypoints, and the skeletons that they make of people."""

import numpy as np
import numpy.typing as npt
from PIL import ImageDraw

from visionlab.pictures.colours import BLACK, GREEN, ORANGE, SKY_BLUE, Colour

COCO_JOINTS = (
    "nose",
    *("left_eye", "right_eye", "left_ear", "right_ear"),
    *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist"),
    *("left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
)
"""``keypoints`` of the category person in ``annotations/person_keypoints_{train,val}2017.json`` of COCO."""

COCO_LIMBS = (
    *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10)),
    *((1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
)
"""``skeleton`` from the same place, counted from 0."""

SMALL = 64  # pixels of height and width under which a skeleton is drawn finely
FAR = 10_000  # pixels outside the picture at which nothing is seen, but can still be drawn


def draw_skeleton(draw: ImageDraw.ImageDraw, keypoints: npt.NDArray[np.float64], colour: Colour) -> None:
    """Draw the keypoints of one object: visible ones as discs, hidden ones as rings, not labelled ones not at all.

    The 17 joints of COCO are joined by limbs: those of the person's left are sky blue, of the right orange, and of the
    middle green, so that swapped sides show. Any other number of keypoints makes dots of ``colour``.

    Args:
        draw: what to draw on, in RGB.
        keypoints: ``(K, 3)``: x, y, in pixels of the picture, between pixels, and visibility (0 not labelled, 1 hidden,
            2 visible). Those that are not finite are not drawn.
        colour: of the dots.
    """
    labelled = (keypoints[:, 2] > 0) & np.isfinite(keypoints).all(axis=1)
    if not labelled.any():
        return
    at = np.floor(np.nan_to_num(keypoints[:, :2]).clip(-FAR, FAR)).astype(int)
    fine = np.ptp(at[labelled], axis=0).max() < SMALL
    radius, line = (2, 1) if fine else (3, 2)
    person = len(keypoints) == len(COCO_JOINTS)
    for one, other in COCO_LIMBS if person else ():
        if labelled[one] and labelled[other]:
            ends = [tuple(at[one].tolist()), tuple(at[other].tolist())]
            draw.line(ends, BLACK, line + 2)
            draw.line(ends, _limb_colour(one, other), line)
    for joint in np.flatnonzero(labelled).tolist():
        (x, y), inner = at[joint].tolist(), _joint_colour(joint) if person else colour
        hidden = keypoints[joint, 2] == 1
        for size, paint in ((radius + 1, BLACK), (radius, inner)):
            draw.ellipse((x - size, y - size, x + size, y + size), None if hidden else paint, paint)


def _joint_colour(joint: int) -> Colour:
    side = COCO_JOINTS[joint].partition("_")[0]
    return {"left": SKY_BLUE, "right": ORANGE}.get(side, GREEN)


def _limb_colour(one: int, other: int) -> Colour:
    colours = {_joint_colour(one), _joint_colour(other)} - {GREEN}  # the nose belongs to both sides
    return colours.pop() if len(colours) == 1 else GREEN
