"""The same net and images in torchattacks: equal where nothing is random, and else within the spread of seeds."""

import pytest
import torch

from small_victims import net, verdicts, victim
from visionlab.attacks.apgd import APGD, TargetedAPGD
from visionlab.attacks.bim import BIM
from visionlab.attacks.budget import lengths
from visionlab.attacks.carlini_wagner import CarliniWagner
from visionlab.attacks.deepfool import DeepFool
from visionlab.attacks.fab import FAB, TargetedFAB
from visionlab.attacks.fgsm import FGSM
from visionlab.attacks.losses import cross_entropy, dlr, margin
from visionlab.attacks.mi_fgsm import MIFGSM
from visionlab.attacks.model import gradients
from visionlab.attacks.pgd import PGD
from visionlab.attacks.square import Square

theirs = pytest.importorskip("torchattacks", reason="for pins of its own, it is in uv's group dev alone")

EPS = 0.12


@pytest.mark.parametrize(
    ("attack", "reference"),
    [
        (FGSM(EPS), lambda: theirs.FGSM(net(), EPS)),
        (BIM(EPS, 10, 0.02), lambda: theirs.BIM(net(), EPS, 0.02, 10)),
        (PGD(EPS, 10, 0.02, random_start=False), lambda: theirs.PGD(net(), EPS, 0.02, 10, False)),
        (PGD(1, 10, 0.2, "l2", random_start=False), lambda: theirs.PGDL2(net(), 1, 0.2, 10, False)),
        (MIFGSM(EPS, 10, 0.02, 0.9), lambda: theirs.MIFGSM(net(), EPS, 0.02, 10, 0.9)),
    ],
)
def test_attacks_without_chance_are_equal(attack, reference):
    model, images = victim()
    clear = (lengths(gradients(model, images), "l2") > 5e-3).nonzero()[:, 0]  # of less, rounding is too large a part
    assert len(clear) >= 15
    model, images = model.at(clear), images[clear]
    moved = attack(model, images)
    assert lengths(moved - images, "linf").min() > EPS / 2
    torch.testing.assert_close(moved, reference()(images, model.labels), rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attack", "loss", "reference"),
    [
        (APGD(EPS, 20), cross_entropy, lambda: theirs.APGD(net(), eps=EPS, steps=20, loss="ce")),
        (APGD(EPS, 20), dlr, lambda: theirs.APGD(net(), eps=EPS, steps=20, loss="dlr")),
        (APGD(0.7, 20, "l2"), cross_entropy, lambda: theirs.APGD(net(), "L2", 0.7, 20, loss="ce")),
        (TargetedAPGD(EPS, 20), dlr, lambda: theirs.APGDT(net(), eps=EPS, steps=20)),
        (FAB(EPS, 20), margin, lambda: theirs.FAB(net(), eps=EPS, steps=20)),
        (TargetedFAB(EPS, 20), margin, lambda: theirs.FAB(net(), eps=EPS, steps=20, multi_targeted=True, n_classes=10)),
        (Square(EPS, 300), margin, lambda: theirs.Square(net(), "Linf", EPS, 300, loss="margin", resc_schedule=False)),
    ],
)
def test_robust_accuracy_is_theirs_within_the_spread_of_seeds(attack, loss, reference):
    model, images = victim(loss)
    ours = 1 - verdicts(model, attack(model, images)).float().mean()
    them = 1 - verdicts(model, reference()(images, model.labels)).float().mean()
    assert 0.05 < ours < 0.7
    assert ours <= them + 0.05
    assert ours >= them - (0.15 if isinstance(attack, Square) else 0.05)  # their squares never reach the last row


@pytest.mark.parametrize(
    ("attack", "norm", "reference", "closer"),
    [
        (DeepFool(overshoot=0.02), "l2", lambda: theirs.DeepFool(net(), overshoot=0.02), 0.1),
        (FAB(1, 20), "linf", lambda: theirs.FAB(net(), eps=1, steps=20), 0.01),
        (FAB(9, 20, "l2"), "l2", lambda: theirs.FAB(net(), "L2", 9, 20), 0.01),
        (CarliniWagner(100, searches=1, constant=1), "l2", lambda: theirs.CW(net(), steps=100, lr=0.01), 0.1),
    ],
)
def test_distances_are_theirs(attack, norm, reference, closer):
    model, images = victim()
    model, images = model.at(torch.arange(15)), images[:15]
    ours, them = attack(model, images), reference()(images, model.labels)
    theirs_fool = verdicts(model, images + 1.01 * (them - images))  # those of DeepFool lie on the boundary
    fooled = verdicts(model, ours) & theirs_fool & ~verdicts(model, images)
    assert fooled.sum() >= 5
    assert verdicts(model, ours).sum() >= verdicts(model, them).sum()
    mine, other = (lengths((moved - images)[fooled], norm) for moved in (ours, them))
    assert float(mine.mean()) == pytest.approx(float(other.mean()), rel=closer)
