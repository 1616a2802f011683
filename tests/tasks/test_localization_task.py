import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou

from visionlab.tasks.localization import Localization, best_box_loss


class Means(nn.Module):
    """As many outputs as asked for, linear in nine means."""

    def __init__(self, outputs):
        super().__init__()
        self.head = nn.Linear(27, outputs)

    def forward(self, images):
        return self.head(F.adaptive_avg_pool2d(images, 3).flatten(1))


@pytest.fixture
def task():
    torch.manual_seed(0)
    return Localization(5, Means, lambda parameters: torch.optim.SGD(parameters, 0.1), box_weight=2.0)


@pytest.fixture
def batch():
    truths = [torch.tensor([[0.0, 0, 10, 10], [5, 5, 40, 30]]), torch.zeros(0, 4), torch.tensor([[1.0, 2, 3, 4]])]
    images = torch.rand(3, 3, 30, 40, generator=torch.Generator().manual_seed(1))
    return {"images": images, "labels": torch.tensor([0, 4, 2]), "boxes": truths, "ids": torch.arange(3)}


def test_a_step_gives_a_loss_an_image_for_class_and_box(task, batch):
    batch["images"].requires_grad_()
    step = task.step(batch)
    predictions = step.predict()
    expected = F.cross_entropy(predictions["logits"], batch["labels"], reduction="none")
    assert torch.equal(step.losses["cross_entropy"], expected)
    boxes = predictions["boxes"]
    expected = 2 * (1 - generalized_box_iou(boxes[:1], batch["boxes"][0]).max())
    assert step.losses["box"][0].item() == pytest.approx(expected.item(), rel=1e-5)
    assert step.losses["box"][1] == 0
    sum(loss.sum() for loss in step.losses.values()).backward()
    assert batch["images"].grad.abs().sum() > 0


def test_boxes_lie_within_the_image_whatever_the_net_says(task, batch):
    with torch.no_grad():
        task.net.head.weight.mul_(1000)
    boxes = task.step(batch).predict()["boxes"]
    assert boxes.shape == (3, 4)
    assert (boxes >= 0).all()
    assert (boxes <= torch.tensor([40, 30, 40, 30])).all()
    assert (boxes[:, :2] <= boxes[:, 2:]).all()


def test_without_labels_there_are_predictions_and_no_losses(task, batch):
    step = task.step({"images": batch["images"], "ids": batch["ids"]})
    assert step.losses == {}
    assert step.predict()["scores"].shape == (3, 5)


def test_a_batch_without_any_box_costs_nothing():
    boxes = torch.rand(2, 4, requires_grad=True)
    loss = best_box_loss(boxes, [torch.zeros(0, 4)] * 2)
    assert loss.tolist() == [0, 0]
    loss.sum().backward()
    assert boxes.grad.isfinite().all()


def test_it_learns_where_the_object_is():
    generator = torch.Generator().manual_seed(0)
    corner = torch.randint(0, 2, (64, 2), generator=generator) * 16
    images, labels = torch.zeros(64, 3, 32, 32), corner[:, 0] // 16
    for image, (x, y) in zip(images, corner.tolist(), strict=True):
        image[:, y : y + 16, x : x + 16] = 1
    truths = [torch.tensor([[x, y, x + 16, y + 16]]).float() for x, y in corner.tolist()]
    batch = {"images": images, "labels": labels, "boxes": truths, "ids": torch.arange(64)}
    torch.manual_seed(0)
    task = Localization(2, Means, lambda parameters: torch.optim.Adam(parameters, 0.1))
    optimizer = task.make_optimizer(task.parameters())
    for _ in range(200):
        optimizer.zero_grad()
        sum(loss.mean() for loss in task.step(batch).losses.values()).backward()
        optimizer.step()
    losses = task.step(batch).losses
    assert losses["box"].max() < 0.2
    assert losses["cross_entropy"].max() < 0.1
