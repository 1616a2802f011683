"""What attacks raise, for every detector of torchvision and for segmentation."""

import pytest
import torch
from torch.nn import functional as F

from stand_ins import PlainNet
from tiny_detectors import TINY, TinyDetector
from tiny_segmenters import TinySegmenter, ValidNet
from visionlab.attacks.patch import Patch
from visionlab.attacks.pgd import PGD
from visionlab.attacks.segpgd import SegPGD
from visionlab.tasks.classification import Classification
from visionlab.tasks.detection import Detection
from visionlab.tasks.objectives import (
    Appear,
    ChangeClass,
    ClassLoss,
    OwnLoss,
    PixelCrossEntropy,
    Vanish,
    usual,
)
from visionlab.tasks.segmentation import Segmentation
from visionlab.tasks.under_attack import attacked, one_image


def optimizer(parameters):
    return torch.optim.SGD(parameters, 0.1)


def detector(kind):
    torch.manual_seed(0)
    return Detection(3, lambda classes: TinyDetector(classes, kind), optimizer).eval()


def image(seed, *size):
    return torch.rand(*size, generator=torch.Generator().manual_seed(seed))


def objects(count):
    """An image with at most two objects, in each of the forms in which they can be learnt."""
    target = {
        "boxes": torch.tensor([[4.0, 4, 40, 40], [20, 10, 60, 50]])[:count],
        "labels": torch.tensor([0, 2])[:count],
        "masks": torch.ones(count, 64, 72, dtype=torch.uint8),
        "keypoints": torch.tensor([[[20.0, 20, 2]] * 17, [[40, 30, 2]] * 17])[:count],
    }
    return {"images": [image(count, 3, 64, 72)], "targets": [target], "ids": torch.tensor([count])}


def digits(task_net=PlainNet, count=6):
    torch.manual_seed(0)
    task = Classification(10, task_net, optimizer).eval()
    return task, {"images": image(0, count, 1, 8, 8), "labels": torch.arange(count) % 10, "ids": torch.arange(count)}


def masks(net=TinySegmenter):
    torch.manual_seed(0)
    task = Segmentation(4, net, optimizer).eval()
    mask = torch.arange(16 * 18).view(16, 18).remainder(4).byte()
    mask[0] = 255
    void = torch.full((12, 14), 255, dtype=torch.uint8)
    images = [image(0, 3, 16, 18), image(1, 3, 12, 14)]
    return task, {"images": images, "masks": [mask, void], "ids": torch.tensor([0, 1])}


def rise(task, batch, moved, objective):
    one, two = (each["images"][0][None] for each in (batch, moved))
    model = objective(task, one_image(batch, 0))
    with torch.no_grad():
        return float(model.losses(two) - model.losses(one))


@pytest.mark.parametrize("kind", TINY)
@pytest.mark.parametrize("objective", [OwnLoss(), Vanish(), Appear(), ChangeClass()], ids=lambda o: type(o).__name__)
def test_every_detector_is_attacked_and_left_as_it_was(kind, objective):
    task, batch = detector(kind), objects(2)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    task.net.train()
    modes = [module.training for module in task.modules()]
    moved = attacked(task, batch, PGD("4/255", steps=1, random_start=False), objective)
    assert [module.training for module in task.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in task.parameters())
    assert (moved["images"][0] - batch["images"][0]).abs().max() <= 4 / 255 + 1e-6
    assert rise(task.eval(), batch, moved, objective) > 0


@pytest.mark.parametrize("kind", [kind for kind in TINY if kind != "SSD"])
def test_an_image_without_objects_can_be_attacked(kind):
    check_without_objects(detector(kind), OwnLoss())


@pytest.mark.parametrize("kind", ["FCOS", "SSD"])
@pytest.mark.parametrize("objective", [Vanish(), Appear()], ids=lambda o: type(o).__name__)
def test_objects_vanish_and_appear_where_there_are_none(kind, objective):
    check_without_objects(detector(kind), objective)


def check_without_objects(task, objective):
    batch = objects(0)
    moved = attacked(task, batch, PGD("4/255", steps=1), objective)
    assert 0 < (moved["images"][0] - batch["images"][0]).abs().max() <= 4 / 255 + 1e-6


def test_vanishing_and_appearing_are_the_loss_of_an_image_without_objects():
    task, batch = detector("RetinaNet"), objects(2)
    empty = {**batch, "targets": objects(0)["targets"]}
    expected = sum(task.step(empty).losses.values())
    images = batch["images"][0][None]
    torch.testing.assert_close(Appear()(task, batch).losses(images)[0], expected)
    torch.testing.assert_close(Vanish()(task, batch).losses(images)[0], -expected)


def test_of_ssd_they_are_the_cross_entropy_of_the_background():
    task, batch = detector("SSD"), objects(2)
    found = Appear()(task, batch).losses(batch["images"][0][None])
    ssd = task.net.net
    inputs, _ = ssd.transform(batch["images"])
    logits = ssd.head([ssd.backbone(inputs.tensors)])["cls_logits"][0]
    torch.testing.assert_close(found[0], -logits.log_softmax(1)[:, 0].sum())


def test_objects_are_taken_for_the_next_class():
    task, batch = detector("FCOS"), objects(2)
    others = {**batch["targets"][0], "labels": torch.tensor([1, 0])}
    expected = -sum(task.step({**batch, "targets": [others]}).losses.values())
    torch.testing.assert_close(ChangeClass()(task, batch).losses(batch["images"][0][None])[0], expected)
    with pytest.raises(ValueError, match="a shift of 3 takes each of 3 classes for itself"):
        ChangeClass(3)(task, batch)


def test_the_losses_of_classes_are_those_of_the_logits():
    task, batch = digits()
    logits = task.net(batch["images"])
    assert usual(task) == ClassLoss()
    model = ClassLoss()(task, batch)
    torch.testing.assert_close(
        model.losses(batch["images"]), F.cross_entropy(logits, batch["labels"], reduction="none")
    )
    towards = (batch["labels"] + 1) % 10
    model = ClassLoss("margin", shift=1)(task, batch).at(torch.tensor([4, 2]))
    rest = logits.clone().scatter_(1, towards[:, None], -torch.inf).amax(1)
    expected = (logits.gather(1, towards[:, None])[:, 0] - rest)[[4, 2]]
    torch.testing.assert_close(model.losses(batch["images"][[4, 2]]), expected)


@pytest.mark.parametrize("net", [TinySegmenter, ValidNet])
def test_segmentation_is_attacked_image_by_image(net):
    task, batch = masks(net)
    for attack in (PGD("4/255", steps=2), SegPGD("4/255", steps=2)):
        for objective in (OwnLoss(), PixelCrossEntropy()):
            moved = attacked(task, batch, attack, objective)
            assert rise(task, batch, moved, objective) > 0
            alone = {name: value[:1] for name, value in batch.items()}
            assert torch.equal(attacked(task, alone, attack, objective)["images"][0], moved["images"][0])
            assert not moved["images"][1].isnan().any()  # all of it is void


def test_segpgd_counts_pixels_as_the_paper_says():
    task, batch = masks()
    one = one_image(batch, 0)
    model = OwnLoss()(task, one)
    images, seen = one["images"], []

    class Recording:
        ids = one["ids"]

        def pixels(self, images):
            losses, wrong = model.pixels(images)
            losses.register_hook(lambda gradient: seen.append((gradient.detach(), wrong)))
            return losses, wrong

    SegPGD("4/255", steps=4)(Recording(), images)
    for step, (weights, wrong) in enumerate(seen):
        share = step / 8
        expected = torch.where(wrong, share, 1 - share) / wrong.numel()
        torch.testing.assert_close(weights, expected)
    losses, wrong = model.pixels(images)
    logits = task.net(images)
    expected = F.cross_entropy(logits, one["masks"].long(), ignore_index=255, reduction="none")
    torch.testing.assert_close(losses, expected)
    assert torch.equal(wrong, (logits.argmax(1) != one["masks"]) & (one["masks"] != 255))


def test_a_patch_changes_its_place_alone_and_raises_the_loss():
    task, batch = digits(count=40)
    patch = Patch(size=0.5, top=1.0, left=0.0, steps=20)
    moved = attacked(task, batch, patch, ClassLoss())
    outside = torch.ones(8, 8, dtype=torch.bool)
    outside[4:, :4] = False
    assert torch.equal(moved["images"][..., outside], batch["images"][..., outside])
    noise = attacked(task, batch, Patch(size=0.5, top=1.0, left=0.0, steps=0), ClassLoss())
    model = ClassLoss()(task, batch)
    with torch.no_grad():
        assert (model.losses(moved["images"]) > model.losses(noise["images"])).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Patch(size=1.5), r"size must lie in \(0, 1\], not 1.5"),
        (lambda: Patch(top=2), "top and left must lie in"),
        (lambda: SegPGD(8), "is 8/255 meant"),
        (lambda: SegPGD("8/255", steps=0), "steps must be at least 1"),
    ],
)
def test_mistaken_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_does_not_fit_the_task_says_so():
    task, batch = digits()
    with pytest.raises(ValueError, match="only objects can vanish"):
        Vanish()(task, batch)
    with pytest.raises(ValueError, match="losses of pixels are for segmentation, not for Classification"):
        PixelCrossEntropy()(task, batch).losses(batch["images"])
    with pytest.raises(ValueError, match="SegPGD needs the losses of pixels"):
        attacked(task, batch, SegPGD("8/255"), ClassLoss())
    with pytest.raises(ValueError, match="losses of logits are for images with one label each, not for Segmentation"):
        ClassLoss()(*masks())
