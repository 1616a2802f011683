"""Attacks on a linear classifier, of which the best change is known in closed form."""

import pytest
import torch
from scipy.optimize import linprog, minimize

from visionlab.attacks.apgd import APGD
from visionlab.attacks.bim import BIM
from visionlab.attacks.budget import lengths
from visionlab.attacks.carlini_wagner import CarliniWagner
from visionlab.attacks.deepfool import DeepFool
from visionlab.attacks.fab import FAB, TargetedFAB, to_hyperplane
from visionlab.attacks.fgsm import FGSM
from visionlab.attacks.mi_fgsm import MIFGSM
from visionlab.attacks.model import Classifier
from visionlab.attacks.pgd import PGD
from visionlab.attacks.random_fgsm import RandomFGSM

EPS = 0.02


@pytest.fixture
def weights():
    return torch.randn(5, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def images():
    """So far inside [0, 1] that nothing is clipped."""
    return 0.5 + 0.1 * torch.randn(20, 3, 2, 2, generator=torch.Generator().manual_seed(1))


def model(weights, images):
    logits = images.flatten(1) @ weights.T
    return Classifier(lambda images: images.flatten(1) @ weights.T, logits.argmax(1), torch.arange(len(images)))


@pytest.mark.parametrize(
    "attack",
    [
        FGSM(EPS),
        FGSM(EPS, "l2"),
        PGD(EPS),
        PGD(EPS, norm="l2", random_start=False),
        PGD(EPS, 100, 0.1 * EPS, "l2"),
        APGD(EPS, 30),
        APGD(EPS, 100, "l2"),
        BIM(EPS, 10),
        MIFGSM(EPS, 10),
        RandomFGSM(EPS, 2 * EPS),
    ],
    ids=repr,
)
def test_two_classes_are_attacked_along_their_difference(weights, images, attack):
    seen = model(weights[:2], images)
    away = (weights[1] - weights[0]) * (1 - 2 * seen.labels[:, None])
    step = away.sign() if attack.norm == "linf" else away / away.norm(dim=1, keepdim=True)
    torch.testing.assert_close((attack(seen, images) - images).flatten(1), EPS * step, rtol=0, atol=5e-3 * EPS)


def nearest(weights, images, norm):
    """The distance to the nearest boundary."""
    logits = images.flatten(1) @ weights.T
    label = logits.argmax(1)
    gaps = logits.amax(1, keepdim=True) - logits
    slopes = weights[None] - weights[label][:, None]
    steepness = slopes.abs().sum(2) if norm == "linf" else slopes.norm(dim=2)
    return (gaps / steepness).scatter(1, label[:, None], float("inf")).amin(1)


@pytest.mark.parametrize(
    ("attack", "norm", "share"),
    [
        (DeepFool(overshoot=0.01), "l2", 0.015),
        (DeepFool(overshoot=0.01, norm="linf"), "linf", 0.015),
        (FAB(1, 30), "linf", 0.01),
        (FAB(1, 30, "l2"), "l2", 0.01),
        (TargetedFAB(1, 30), "linf", None),
    ],
    ids=repr,
)
def test_the_smallest_change_reaches_the_nearest_boundary(weights, images, attack, norm, share):
    seen = model(weights, images)
    moved = attack(seen, images)
    assert seen.fooled(seen.logits(moved)).all()
    ratio = lengths(moved - images, norm) / nearest(weights, images, norm)
    assert ratio.min() > 0.999
    if share is None:  # one class after another until one is reached: the likeliest, not always the nearest
        assert ratio.median() < 1.2
    else:
        assert ratio.max() < 1 + share


def test_carlini_and_wagners_change_is_the_smallest_of_two_classes(weights, images):
    seen = model(weights[:2], images)
    moved = CarliniWagner(150, searches=6, constant=0.1)(seen, images)
    assert seen.fooled(seen.logits(moved)).all()
    ratio = lengths(moved - images, "l2") / nearest(weights[:2], images, "l2")
    assert ratio.min() > 0.999
    assert ratio.max() < 1.01


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_ways_to_a_hyperplane_stay_in_the_box_and_are_shortest(norm):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(12, 1, 2, 3, generator=generator).round(decimals=1)
    slopes = torch.randn(images.shape, generator=generator)
    slopes[0, 0, 0, :2] = 0
    least = torch.where(slopes > 0, -images, 1 - images).mul(slopes).flatten(1).sum(1)
    most = torch.where(slopes > 0, 1 - images, -images).mul(slopes).flatten(1).sum(1)
    rise = least + (most - least) * torch.linspace(0.02, 0.98, 12)
    ways = to_hyperplane(images, slopes, rise, norm)
    torch.testing.assert_close((ways * slopes).flatten(1).sum(1), rise, rtol=1e-4, atol=1e-4)
    assert (images + ways).min() >= -1e-6
    assert (images + ways).max() <= 1 + 1e-6
    for image, slope, amount, way in zip(images, slopes, rise, ways, strict=True):
        x, w = image.flatten().double().numpy(), slope.flatten().double().numpy()
        assert float(lengths(way[None], norm)) == pytest.approx(shortest(x, w, float(amount), norm), abs=1e-3)
    assert not to_hyperplane(images, slopes, torch.zeros(12), norm).any()
    beyond = to_hyperplane(images, slopes, most + 1, norm)
    torch.testing.assert_close((beyond * slopes).flatten(1).sum(1), most)


def shortest(x, w, amount, norm):
    """By linear programming, or by sequential quadratic programming."""
    n = len(x)
    if norm == "linf":
        rows = [[*(1.0 if j == i else 0.0 for j in range(n)), -1.0] for i in range(n)]
        rows += [[*(-1.0 if j == i else 0.0 for j in range(n)), -1.0] for i in range(n)]
        bounds = [*zip(-x, 1 - x, strict=True), (0, None)]
        return linprog([0.0] * n + [1.0], rows, [0.0] * 2 * n, [[*w, 0.0]], [amount], bounds).fun
    meets = {"type": "eq", "fun": lambda d: d @ w - amount}
    found = minimize(lambda d: d @ d, [0.0] * n, bounds=[*zip(-x, 1 - x, strict=True)], constraints=meets)
    assert found.success
    return found.fun**0.5
