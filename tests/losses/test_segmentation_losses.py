"""Losses of segmentation against torch's own and against loops."""

import math

import pytest
import torch
from torch.nn import functional as F

from visionlab.losses.segmentation import (
    CrossEntropy,
    Dice,
    Focal,
    LovaszSoftmax,
    cross_entropy,
    dice,
    focal,
    lovasz_softmax,
)

WEIGHTS = torch.tensor([0.5, 2.0, 1.0, 4.0], dtype=torch.float64)


@pytest.fixture
def logits():
    return torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)


@pytest.fixture
def masks():
    """The second has one class, the third is void."""
    generator = torch.Generator().manual_seed(1)
    masks = torch.randint(4, (3, 5, 6), generator=generator)
    masks[torch.rand(masks.shape, generator=generator) < 0.2] = 255
    masks[1, masks[1] != 255] = 2
    masks[2] = 255
    return masks


def pixels(logits, mask):
    """The probabilities and the label of each pixel that counts."""
    probabilities = logits.detach().softmax(0)
    for row in range(mask.shape[0]):
        for column in range(mask.shape[1]):
            if mask[row, column] != 255:
                yield probabilities[:, row, column].tolist(), int(mask[row, column])


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_cross_entropy_is_torchs_over_the_batch(logits, masks, weights):
    each = cross_entropy(logits, masks, weights)
    expected = F.cross_entropy(logits, masks, weights, ignore_index=255)
    assert each.shape == (3,)
    assert each[2] == 0
    torch.testing.assert_close(each.mean(), expected)
    ours, theirs = (torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (each.mean(), expected))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_focal_is_a_loop_over_pixels(logits, masks, weights):
    total, count = 0.0, 0
    for image, mask in zip(logits, masks, strict=True):
        for probabilities, label in pixels(image, mask):
            alpha = 1.0 if weights is None else weights[label].item()
            total -= alpha * (1 - probabilities[label]) ** 1.5 * math.log(probabilities[label])
            count += 1
    assert focal(logits, masks, 1.5, weights).mean().item() == pytest.approx(total / count)
    torch.testing.assert_close(focal(logits, masks, 0.0), cross_entropy(logits, masks))


def test_dice_is_a_loop_over_pixels(logits, masks):
    for image, mask, ours in zip(logits, masks, dice(logits, masks), strict=True):
        rows = list(pixels(image, mask))
        losses = []
        for label in {label for _, label in rows}:
            both = sum(probabilities[label] for probabilities, true in rows if true == label)
            sizes = sum(probabilities[label] for probabilities, _ in rows) + sum(true == label for _, true in rows)
            losses.append(1 - (2 * both + 1) / (sizes + 1))
        assert ours.item() == pytest.approx(sum(losses) / len(losses) if losses else 0)


def test_lovasz_is_the_extension_of_the_jaccard_loss(logits, masks):
    """Equation 9 and definition 1, by sets of mispredicted pixels."""

    def jaccard_loss(wrong, true):
        return len(wrong) / len(true | wrong) if true | wrong else 0

    for image, mask, ours in zip(logits, masks, lovasz_softmax(logits, masks), strict=True):
        rows = list(pixels(image, mask))
        losses = []
        for label in {label for _, label in rows}:
            true = {i for i, (_, t) in enumerate(rows) if t == label}
            errors = [abs((i in true) - probabilities[label]) for i, (probabilities, _) in enumerate(rows)]
            order = sorted(range(len(rows)), key=lambda i: -errors[i])
            losses.append(
                sum(
                    errors[i] * (jaccard_loss({*order[: n + 1]}, true) - jaccard_loss({*order[:n]}, true))
                    for n, i in enumerate(order)
                )
            )
        assert ours.item() == pytest.approx(sum(losses) / len(losses) if losses else 0)


LOSSES = [CrossEntropy(), CrossEntropy(class_weights=WEIGHTS.tolist()), Focal(), Dice(), LovaszSoftmax()]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_a_batch_of_void_costs_nothing_and_a_perfect_one_little(loss, logits, masks):
    nothing = loss(logits, torch.full_like(masks, 255))
    assert nothing.tolist() == [0, 0, 0]
    (gradient,) = torch.autograd.grad(nothing.sum(), logits)
    assert not gradient.any()
    perfect = 50 * F.one_hot(masks.clamp(max=3), 4).movedim(-1, 1).double()
    assert loss(perfect, masks).max() < 1e-6 < loss(logits, masks).max()


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_gradients_are_those_of_finite_differences(loss, logits, masks):
    assert torch.autograd.gradcheck(lambda values: loss(values, masks), (logits,))


def test_wrong_arguments_are_refused(logits, masks):
    with pytest.raises(ValueError, match="4 classes need as many class_weights, not 2"):
        CrossEntropy(class_weights=[1.0, 2.0])(logits, masks)
    with pytest.raises(ValueError, match="gamma must be at least 0, not -1"):
        Focal(gamma=-1)
