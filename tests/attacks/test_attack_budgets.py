"""Budgets, random starts, and what an attack refuses."""

import pytest
import torch
from torch import nn

from small_victims import net, victim
from visionlab.attacks.budget import edge_start, lengths, parse, project, random_start
from visionlab.attacks.carlini_wagner import CarliniWagner
from visionlab.attacks.deepfool import DeepFool
from visionlab.attacks.fgsm import FGSM
from visionlab.attacks.losses import dlr
from visionlab.attacks.mi_fgsm import MIFGSM
from visionlab.attacks.model import Classifier, frozen, zero_share
from visionlab.attacks.noise import uniform
from visionlab.attacks.pgd import PGD
from visionlab.attacks.square import Square


def test_budgets_are_read_as_people_write_them():
    assert parse("8/255", "linf") == 8 / 255
    assert parse("0.03", "linf") == 0.03
    assert parse(0.5, "l2") == 0.5
    assert parse(3, "l2") == 3


@pytest.mark.parametrize(
    ("eps", "norm", "message"),
    [
        (8, "linf", "is 8/255 meant"),
        ("8", "linf", "is 8/255 meant"),
        ("eight", "linf", "not 'eight'"),
        ("1/0", "linf", "not '1/0'"),
        (-0.1, "l2", "at least 0, not -0.1"),
        (float("nan"), "l2", "not nan"),
        (float("inf"), "l2", "not inf"),
    ],
)
def test_other_budgets_are_refused(eps, norm, message):
    with pytest.raises(ValueError, match=message):
        PGD(eps, norm=norm)


def splitmix(z):
    """With Python's whole numbers."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def test_random_numbers_are_splitmix():
    found = uniform(7, torch.tensor([3, 12345678901]), (2, 2), 5)
    for row, number in enumerate((3, 12345678901)):
        key = splitmix((splitmix((splitmix(7) + number) % 2**64) + 5) % 2**64)
        expected = [splitmix((key + place * 0x9E3779B97F4A7C15) % 2**64) >> 40 for place in range(1, 5)]
        assert (found[row].flatten() * 2**24).tolist() == expected


def test_random_numbers_belong_to_an_image_and_are_uniform():
    ids = torch.arange(300)
    numbers = uniform(1, ids, (100,), 2)
    assert torch.equal(uniform(1, ids[[7, 3]], (100,), 2), numbers[[7, 3]])
    assert abs(numbers.mean() - 0.5) < 0.01
    assert abs(numbers.var() - 1 / 12) < 0.002
    others = torch.cat([uniform(2, ids, (100,), 2), uniform(1, ids, (100,), 3), numbers.roll(1, 0), numbers.roll(1, 1)])
    for other in others.split(300):
        assert abs(torch.corrcoef(torch.stack([numbers.flatten(), other.flatten()]))[0, 1]) < 0.03


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 1.0)])
def test_starts_and_projections_are_in_the_budget(norm, eps):
    images = torch.rand(50, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    inner, edge = (start(images, eps, norm, 0, torch.arange(50)) for start in (random_start, edge_start))
    far = project(images + torch.randn(images.shape, generator=torch.Generator().manual_seed(1)), images, eps, norm)
    for moved in (inner, edge, far):
        assert lengths(moved - images, norm).max() <= eps + 1e-6
        assert moved.min() >= 0
        assert moved.max() <= 1
        assert lengths(moved - images, norm).max() > 0.7 * eps


def plain():
    return Classifier(nn.Flatten().eval(), torch.tensor([0]), torch.tensor([0]))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.full((1, 1, 2, 2), 1.5), r"lie in \[0, 1\], not \[1.5, 1.5\]"),
        (torch.full((1, 1, 2, 2), -0.1), r"not \[-0.1, -0.1\]"),
        (torch.full((1, 1, 2, 2), float("nan")), r"not \[nan, nan\]"),
        (torch.zeros(1, 1, 2, 2, dtype=torch.float16), "not in torch.float16"),
        (torch.zeros(1, 1, 2, 2, dtype=torch.uint8), "not in torch.uint8"),
        (torch.zeros(2, 2), r"not \(2, 2\)"),
        (torch.zeros(0, 1, 2, 2), r"not \(0, 1, 2, 2\)"),
    ],
)
def test_images_must_be_float32_in_the_unit_range(images, message):
    with pytest.raises(ValueError, match=message):
        FGSM(0.1)(plain(), images)


def test_inference_mode_is_named():
    with torch.inference_mode():
        images = torch.zeros(1, 1, 2, 2)
        with pytest.raises(ValueError, match="inference_mode=False"):
            FGSM(0.1)(plain(), torch.zeros(1, 1, 2, 2))
    with pytest.raises(ValueError, match="inference_mode=False"):
        FGSM(0.1)(plain(), images)


def test_nets_must_be_in_evaluation_mode_and_float32():
    labels = torch.zeros(1, dtype=torch.int64)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.Dropout(0.5)).eval()
    Classifier(layers, labels, labels)
    with pytest.raises(ValueError, match="this one is in training mode"):
        Classifier(layers.train(), labels, labels)
    with pytest.raises(ValueError, match=r"not of torch\.float16"):
        Classifier(layers.eval().half(), labels, labels)
    with pytest.raises(ValueError, match=r"not in torch\.float16"):
        Classifier(nn.Flatten().eval(), labels, labels, precision=torch.float16)
    with pytest.raises(ValueError, match="one an image"):
        Classifier(nn.Flatten().eval(), labels, torch.arange(2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PGD(0.1, steps=0), "steps must be at least 1, not 0"),
        (lambda: PGD(0.1, step_size=2), "is 2/255 meant"),
        (lambda: PGD(0.1, restarts=2, random_start=False), "all be the same"),
        (lambda: MIFGSM(0.1, decay=-1), "decay"),
        (lambda: Square(0.1, share=0), "share"),
        (lambda: DeepFool(overshoot=-1), "overshoot"),
        (lambda: CarliniWagner(constant=0), "constant"),
        (lambda: CarliniWagner(confidence=-1), "confidence"),
    ],
)
def test_wrong_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


class Brightness:
    """No classifier: its loss is how bright an image is."""

    def __init__(self, ids):
        self.ids = ids

    def losses(self, images):
        return images.flatten(1).sum(1)

    def at(self, chosen):
        return Brightness(self.ids[chosen])


@pytest.mark.parametrize("attack", [DeepFool(), CarliniWagner(), PGD(0.1, drop_fooled=True)])
def test_attacks_on_logits_say_so(attack):
    with pytest.raises(ValueError, match="attacks classifiers, not Brightness"):
        attack(Brightness(torch.arange(1)), torch.zeros(1, 1, 2, 2))


def test_dlr_says_how_many_classes_it_needs():
    with pytest.raises(ValueError, match="at least 3 classes, not 2"):
        dlr(torch.zeros(1, 2), torch.tensor([0]))


def test_hidden_gradients_are_told():
    model, images = victim()
    assert zero_share(model, images).max() < 0.5
    loud = Classifier(lambda images: 1e4 * net()(images), model.labels, model.ids)
    assert zero_share(loud, images).median() == 1


def test_frozen_puts_everything_back():
    layers = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2), nn.Dropout()))
    layers[1][1].eval()
    layers[0].bias.requires_grad_(False)
    with frozen(layers):
        assert not any(module.training for module in layers.modules())
        assert not any(parameter.requires_grad for parameter in layers.parameters())
    assert [module.training for module in layers.modules()] == [True, True, True, True, False]
    assert [parameter.requires_grad for parameter in layers.parameters()] == [True, False, True, True]
