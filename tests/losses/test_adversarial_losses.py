import math

import pytest
import torch
from torch.nn import functional as F

from visionlab.losses.adversarial import R1, GradientPenalty, Hinge, LeastSquares, NonSaturating, Wasserstein

LOGITS = torch.tensor([[-3.0, -1.0], [0.5, 40.0]])


def test_the_non_saturating_loss_is_binary_cross_entropy_with_real_as_the_generators_target():
    loss, one, zero = NonSaturating(), torch.ones_like(LOGITS), torch.zeros_like(LOGITS)

    def cross_entropy(target):
        return F.binary_cross_entropy_with_logits(LOGITS, target, reduction="none")

    torch.testing.assert_close(loss.real(LOGITS), cross_entropy(one))
    torch.testing.assert_close(loss.fake(LOGITS), cross_entropy(zero))
    torch.testing.assert_close(loss.generator(LOGITS), cross_entropy(one))


@pytest.mark.parametrize(
    ("loss", "real", "fake", "generator"),
    [
        (Hinge(), [[4, 2], [0.5, 0]], [[0, 0], [1.5, 41]], [[3, 1], [-0.5, -40]]),
        (Wasserstein(), [[3, 1], [-0.5, -40]], [[-3, -1], [0.5, 40]], [[3, 1], [-0.5, -40]]),
        (LeastSquares(), [[16, 4], [0.25, 1521]], [[9, 1], [0.25, 1600]], [[16, 4], [0.25, 1521]]),
    ],
)
def test_other_games_by_hand(loss, real, fake, generator):
    torch.testing.assert_close(loss.real(LOGITS), torch.tensor(real))
    torch.testing.assert_close(loss.fake(LOGITS), torch.tensor(fake).float())
    torch.testing.assert_close(loss.generator(LOGITS), torch.tensor(generator).float())


def test_penalties_of_a_linear_critic_are_of_the_length_of_its_weights():
    """By a pixel in [-1, 1] the slope is half of that by one in [0, 1]."""
    weights = torch.randn(12, generator=torch.Generator().manual_seed(0), requires_grad=True)
    real, fake = torch.rand(2, 5, 3, 2, 2)

    def critic(images):
        return images.flatten(1) @ weights

    length = float(weights.detach().norm()) / 2
    each = GradientPenalty(weight=10.0)(critic, real, fake)
    torch.testing.assert_close(each, torch.full((5,), 10 * (length - 1) ** 2))
    torch.testing.assert_close(R1(weight=3.0)(critic, real, fake), torch.full((5,), 1.5 * length**2))
    (gradient,) = torch.autograd.grad(each.mean(), weights)
    torch.testing.assert_close(gradient, 10 * (length - 1) / (2 * length) * weights.detach(), rtol=1e-4, atol=1e-5)


def test_the_gradient_penalty_looks_between_the_images_at_places_of_the_generators_drawing():
    seen = []

    def critic(images):
        seen.append(images.detach())
        return images.square().flatten(1).sum(1)

    real, fake = torch.ones(64, 1, 1, 1), torch.zeros(64, 1, 1, 1)
    each = GradientPenalty(weight=1.0)(critic, real, fake, torch.Generator().manual_seed(3))
    places = torch.rand(64, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(seen[0].flatten(), places)
    torch.testing.assert_close(each, (places - 1).square())  # the slope is twice the place, halved
    # a critic's slope at the real images only
    assert math.isclose(float(R1(weight=2.0)(critic, real, fake).mean()), 1.0)
