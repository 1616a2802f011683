"""What holds for every attack."""

from dataclasses import replace

import pytest
import torch

from small_victims import IMAGES, net, verdicts, victim
from visionlab.attacks.apgd import APGD, TargetedAPGD
from visionlab.attacks.autoattack import AutoAttack
from visionlab.attacks.bim import BIM
from visionlab.attacks.budget import lengths
from visionlab.attacks.carlini_wagner import CarliniWagner
from visionlab.attacks.deepfool import DeepFool
from visionlab.attacks.fab import FAB, TargetedFAB
from visionlab.attacks.fgsm import FGSM
from visionlab.attacks.losses import cross_entropy, dlr, margin
from visionlab.attacks.mi_fgsm import MIFGSM
from visionlab.attacks.pgd import PGD
from visionlab.attacks.random_fgsm import RandomFGSM
from visionlab.attacks.square import Square

BOUNDED = [
    FGSM("3/25"),
    FGSM(0.6, "l2"),
    RandomFGSM(0.12),
    BIM(0.12, 10, 0.02),
    PGD(0.12, 6),
    PGD(0.12, 5, restarts=2),
    PGD(0.12, 5, restarts=2, drop_fooled=True),
    PGD(0.6, 6, norm="l2"),
    MIFGSM(0.12, 6),
    APGD(0.12, 10, restarts=2),
    APGD(0.6, 10, "l2"),
    TargetedAPGD(0.12, 6),
    FAB(0.12, 6, restarts=2),
    FAB(0.6, 6, "l2", restarts=2),
    TargetedFAB(0.12, 6),
    Square(0.12, 60),
    Square(0.6, 60, "l2"),
    AutoAttack(0.12, "linf", 5, 20, 2),
    AutoAttack(0.6, "l2", 5, 20, 2),
]
ATTACKS = [*BOUNDED, DeepFool(), DeepFool(norm="linf"), CarliniWagner(20, 0.05, 2, 1)]


def seen_by(attack):
    losses = {TargetedAPGD: dlr, FAB: margin, TargetedFAB: margin, Square: margin}
    return victim(losses.get(type(attack), cross_entropy))


@pytest.mark.parametrize("attack", BOUNDED, ids=repr)
def test_a_budget_of_0_changes_no_bit(attack):
    model, images = seen_by(attack)
    moved = replace(attack, eps="0/255")(model, images)
    assert torch.equal(moved, images)
    assert moved.data_ptr() != images.data_ptr()


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_images_move_within_the_budget_and_nothing_else_does(attack):
    model, images = seen_by(attack)
    state = {name: value.clone() for name, value in net().state_dict().items()}
    given, random = images.clone(), torch.get_rng_state()
    moved = attack(model, images)
    assert not moved.requires_grad
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert torch.equal(images, given)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[name]) for name, value in net().state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net().parameters())
    assert not any(module.training for module in net().modules())
    if attack in BOUNDED:
        assert lengths(moved - images, attack.norm).max() <= attack.budget + 1e-6


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_the_defender_loses(attack):
    model, images = seen_by(attack)
    before, after = verdicts(model, images), verdicts(model, attack(model, images))
    assert after.sum() > before.sum()
    assert (after | ~before).all()


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_the_batch_of_an_image_changes_no_verdict(attack):
    model, images = seen_by(attack)
    expected = verdicts(model, attack(model, images))
    found = torch.zeros_like(expected)
    for places in torch.randperm(IMAGES, generator=torch.Generator().manual_seed(0)).split(13):
        some = model.at(places)
        found[places] = verdicts(some, attack(some, images[places]))
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("attack", "field", "counts"),
    [
        (BIM(0.12, step_size=0.02), "steps", (1, 3, 10)),
        (PGD(0.12, step_size=0.02), "steps", (1, 3, 10)),
        (PGD(0.12, 1), "restarts", (1, 3, 8)),
        (MIFGSM(0.12, step_size=0.02), "steps", (1, 3, 10)),
        (APGD(0.12), "steps", (1, 4, 20)),
        (TargetedAPGD(0.12, 3), "classes", (1, 2, 4)),
        (FAB(0.12), "steps", (1, 4, 20)),
        (Square(0.12), "queries", (1, 10, 100)),
        (CarliniWagner(searches=1, constant=1), "steps", (5, 20, 80)),
        (DeepFool(), "steps", (1, 2, 10)),
    ],
    ids=repr,
)
def test_more_effort_never_helps_the_defender_on_average(attack, field, counts):
    model, images = seen_by(attack)
    fooled = []
    for count in counts:
        more = replace(attack, **{field: count})
        fooled.append(int(verdicts(model, more(model, images)).sum()))
    assert fooled == sorted(fooled)
    assert fooled[0] < fooled[-1]


@pytest.mark.parametrize("attack", [a for a in BOUNDED if isinstance(a, (RandomFGSM, PGD, APGD, Square))], ids=repr)
def test_the_seed_decides_what_is_random(attack):
    model, images = seen_by(attack)
    moved = attack(model, images)
    assert torch.equal(attack(model, images), moved)
    assert not torch.equal(replace(attack, seed=1)(model, images), moved)


class Counted:
    """A net that counts the images that it is shown."""

    def __init__(self):
        self.images = 0

    def __call__(self, images):
        self.images += len(images)
        return net()(images)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_dropping_fooled_images_changes_no_verdict_and_saves_time(norm):
    model, images = victim()
    counted = Counted()
    attack = PGD(0.1 if norm == "linf" else 0.6, 20, norm=norm, drop_fooled=True)
    moved = attack(replace(model, net=counted), images)
    plain = replace(attack, drop_fooled=False)
    at, fooled = plain.start(images, model.ids, 0), verdicts(model, images)
    for _ in range(20):
        fooled |= verdicts(model, at)
        at = plain.step(at, torch.func.grad(lambda x: model.losses(x).sum())(at), images)
    fooled |= verdicts(model, at)
    assert torch.equal(verdicts(model, moved), fooled)
    assert counted.images < 0.8 * 22 * IMAGES
    assert not fooled.all()


@pytest.mark.parametrize(
    "attack", [PGD(0.3, 10), PGD(0.3, 10, drop_fooled=True), FAB(1, 20), CarliniWagner(60, 0.05, 3, 1), DeepFool()]
)
def test_targets_are_reached(attack):
    model, images = victim()
    model, images = model.at(torch.arange(10)), images[:10]
    aimed = replace(model, targets=(model.labels + 1) % 10)
    moved = attack(aimed, images)
    with torch.no_grad():
        reached = model.logits(moved).argmax(1) == aimed.targets
    assert torch.equal(reached, verdicts(aimed, moved))
    assert reached.float().mean() > 0.7


class Brightness:
    """No classifier: its loss is how bright an image is, each pixel squared after 1 was added."""

    def __init__(self, ids):
        self.ids = ids

    def losses(self, images):
        return (images + 1).square().flatten(1).sum(1)

    def at(self, chosen):
        return Brightness(self.ids[chosen])


@pytest.mark.parametrize(
    "attack",
    [FGSM(0.1), RandomFGSM(0.1, 0.2), BIM(0.1, 10, 0.02), PGD(0.1), PGD(0.1, restarts=2), MIFGSM(0.1), APGD(0.1, 20)],
    ids=repr,
)
def test_any_loss_is_raised(attack):
    _, images = victim()
    moved = attack(Brightness(torch.arange(IMAGES)), images)
    torch.testing.assert_close(moved, (images + 0.1).clamp(max=1), rtol=0, atol=1e-6)


def test_square_raises_any_loss():
    model, images = Brightness(torch.arange(IMAGES)), victim()[1]
    assert (model.losses(Square(0.1, 100)(model, images)) > model.losses(images)).all()


def test_autoattack_is_at_least_as_strong_as_its_parts():
    model, images = victim()
    attack = AutoAttack(0.12, steps=6, queries=50, classes=3)
    fooled = verdicts(model, attack(model, images))
    for part, loss in attack.attacks():
        alone = replace(model, loss=loss)
        assert (fooled | ~verdicts(model, part(alone, images))).all()
    assert fooled.sum() >= verdicts(model, PGD(0.12, 20)(model, images)).sum()


def test_logits_in_bfloat16_give_nearly_the_same_gradients():
    model, images = victim()
    coarse = replace(model, precision=torch.bfloat16)
    exact, found = (torch.func.grad(lambda x, m=m: m.losses(x).sum())(images) for m in (model, coarse))
    assert found.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(exact.flatten(1), found.flatten(1)).min() > 0.98
