import pytest
import torch
from torch import nn

from visionlab.tasks.detection import Detection


class Notes(nn.Module):
    """A net that keeps what it is told."""

    def __init__(self, num_classes):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.told = None

    def forward(self, images, targets):
        self.told = targets
        losses = {} if targets is None else {"a": self.scale * 2, "b": self.scale * 3}
        return losses, lambda: [{"boxes": torch.zeros(0, 4)} for _ in images]


def task_of(net):
    return Detection(4, net, lambda parameters: torch.optim.SGD(parameters, 0.1))


def batch(*targets, ids=None):
    images = [torch.rand(3, 40 + 10 * i, 60, generator=torch.Generator().manual_seed(i)) for i in range(len(targets))]
    return {"images": images, "targets": list(targets), "ids": torch.arange(len(targets)) if ids is None else ids}


def target(boxes, labels, **more):
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        **more,
    }


def test_losses_are_the_nets_and_are_shared_by_predictions():
    task = task_of(Notes)
    step = task.step(batch(target([[0, 0, 9, 9]], [3])))
    assert {name: loss.item() for name, loss in step.losses.items()} == {"a": 2, "b": 3}
    assert len(step.predict()) == 1


def test_without_targets_there_are_predictions_and_no_losses():
    given = batch(target([], []))
    del given["targets"]
    step = task_of(Notes).step(given)
    assert step.losses == {}
    assert len(step.predict()) == 1


def test_boxes_without_height_or_width_are_left_out_with_all_that_is_theirs():
    masks = torch.arange(4, dtype=torch.uint8)[:, None, None].expand(4, 40, 60)
    boxes = [[0, 0, 9, 0], [5, 5, 5, 9], [1, 2, 3, 4], [9, 9, 8, 12]]
    one = target(boxes, [0, 1, 2, 3], masks=masks, keypoints=torch.rand(4, 5, 3), iscrowd=torch.ones(4).bool())
    task = task_of(Notes)
    task.step(batch(one))
    (told,) = task.net.told
    assert told["boxes"].tolist() == [[1, 2, 3, 4]]
    assert told["labels"].tolist() == [2]
    assert told["masks"].unique().tolist() == [2]
    assert torch.equal(told["keypoints"], one["keypoints"][2:3])
    assert told["iscrowd"].tolist() == [True]


def test_difficult_objects_are_learnt_and_what_only_metrics_read_is_not_passed_on():
    more = {
        "difficult": torch.ones(1).bool(),
        "ids": torch.tensor([7]),
        "area": torch.ones(1),
        "xywh": torch.ones(1, 4),
    }
    task = task_of(Notes)
    task.step(batch(target([[0, 0, 9, 9]], [3], **more)))
    assert task.net.told[0].keys() == {"boxes", "labels"}
    assert len(task.net.told[0]["boxes"]) == 1


@pytest.mark.parametrize("label", [-1, 4, 90])
def test_an_unknown_label_is_named_with_its_image(label):
    targets = target([[0, 0, 9, 9]] * 2, [0, 3]), target([], []), target([[0, 0, 9, 9]] * 2, [1, label])
    with pytest.raises(ValueError, match=rf"image 12 has an object with label {label}; labels are 0\.\.3"):
        task_of(Notes).step(batch(*targets, ids=torch.tensor([10, 11, 12])))


def test_half_precision_is_refused_with_what_to_use():
    given = batch(target([], []))
    given["images"] = [image.bfloat16() for image in given["images"]]
    with pytest.raises(ValueError, match="bf16-mixed"):
        task_of(Notes).step(given)
