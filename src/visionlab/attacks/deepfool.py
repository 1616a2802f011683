from dataclasses import dataclass

import torch
from torch import Tensor

from visionlab.attacks.base import Attack, check_counts
from visionlab.attacks.budget import Norm, by_image, lengths
from visionlab.attacks.model import Model, boundaries, classifier, rivals, still_standing


@dataclass(frozen=True)
class DeepFool(Attack):
    """DeepFool (Moosavi-Dezfooli et al. 2016, algorithm 2 and equations 11 and 12): step after step to the nearest
    boundary as it would be if the net were linear. It has no budget: what counts is how far images were moved.

    Args:
        steps: how many at most, at least 1.
        norm: in which the nearest boundary is sought.
        overshoot: by what share the way is lengthened to come across the boundary, at least 0.
        classes: how many of the likeliest wrong classes are looked at, at least 1; 9 of them in the authors' code.
    """

    steps: int = 50
    norm: Norm = "l2"
    overshoot: float = 0.02
    classes: int = 9

    def __post_init__(self) -> None:
        check_counts(steps=self.steps, classes=self.classes)
        if self.overshoot < 0:
            raise ValueError(f"overshoot must be at least 0, not {self.overshoot}")

    def perturb(self, model: Model, images: Tensor) -> Tensor:
        victim = classifier(model, self)
        left, classes = still_standing(victim, images), rivals(victim, images)[:, : self.classes]
        result, way = images.clone(), torch.zeros_like(images)
        for _ in range(self.steps):
            if len(left) == 0:
                break
            gaps, slopes = boundaries(victim.at(left), result[left], classes[left])
            way[left] += shortest_way(gaps, slopes, self.norm)
            result[left] = (images[left] + (1 + self.overshoot) * way[left]).clamp_(0, 1)
            left = left[still_standing(victim.at(left), result[left])]
        return result


def shortest_way(gaps: Tensor, slopes: Tensor, norm: Norm) -> Tensor:
    """``(n, channels, H, W)``: the way to the nearest of hyperplanes, and 1e-4 of the logits beyond as in the authors'
    code.

    Args:
        gaps: ``(n, k)``, see :func:`boundaries`.
        slopes: ``(n, k, channels, H, W)``, likewise.
        norm: in which they are near.
    """
    n, k = gaps.shape
    flat = slopes.flatten(0, 1)
    steepness = (flat.flatten(1).abs().sum(1) if norm == "linf" else lengths(flat, "l2")).view(n, k)
    steepness = steepness.clamp(min=torch.finfo(gaps.dtype).tiny)
    nearest = (gaps.abs() / steepness).argmin(1)
    every = torch.arange(n, device=gaps.device)
    gap, slope, steep = gaps[every, nearest].abs() + 1e-4, slopes[every, nearest], steepness[every, nearest]
    if norm == "linf":
        return by_image(gap / steep, slope) * slope.sign()
    return by_image(gap / steep, slope) * (slope / by_image(steep, slope))
