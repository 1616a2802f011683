"""A U-Net learns a few real images by heart, scored from the masks that were written."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from visionlab.data import collate
from visionlab.data.mask_files import read_masks, voc_folder, write_masks
from visionlab.data.voc import VOCSegmentation
from visionlab.losses.segmentation import CrossEntropy, Dice
from visionlab.metrics.segmentation import Confusion
from visionlab.nets.unet import UNet
from visionlab.tasks.segmentation import Segmentation

STEPS = 160


class QuarterSize(nn.Module):
    """A narrow U-Net on a quarter of the pixels of each side, or on images that were shrunk before."""

    shrinks = True

    def __init__(self, num_classes):
        super().__init__()
        self.net = UNet(num_classes, width=8)

    def forward(self, images):
        if not self.shrinks:
            return self.net(images)
        return F.interpolate(self.net(shrunk(images)), images.shape[2:], mode="bilinear")


def shrunk(images):
    """To a quarter of each side, where 375 pixels leave 93."""
    return F.interpolate(images, scale_factor=0.25, mode="bilinear", antialias=True)


@pytest.mark.slow
def test_u_net_learns_eight_images_of_voc_by_heart(shared_data):
    torch.manual_seed(0)
    data = VOCSegmentation(str(shared_data / "voc"), 8)
    split = data.dataset("train")
    positions = [i for i in range(len(split)) if split.image(i).shape == (375, 500, 3)][:8]
    batch = collate.segmentation([split.sample(i) for i in positions], np.array(positions))
    batch["images"] = batch["images"] / 255
    counts = batch["masks"].flatten().bincount(minlength=256)[:21]
    weights = torch.where(counts > 0, (counts[0] / counts) ** 0.75, 1)  # or a small chair is learnt long after all
    losses = {"cross_entropy": CrossEntropy(class_weights=weights.tolist()), "dice": Dice()}
    task = Segmentation(21, QuarterSize, lambda parameters: torch.optim.AdamW(parameters, 1e-2), losses=losses)
    optimizer = task.make_optimizer(task.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, STEPS)
    small = {**batch, "images": shrunk(batch["images"]), "masks": batch["masks"][:, 2::4, 2::4]}
    task.net.shrinks = False
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.stack([loss.mean() for loss in task.step(small).losses.values()]).sum().backward()
        optimizer.step()
        schedule.step()
    task.eval()
    task.net.shrinks = True
    with torch.inference_mode():
        found = task.step({"images": [*batch["images"]], "ids": batch["ids"]}).predict()
    names = [split.name(i) for i in positions]
    folder = voc_folder(2012, "train", 5)
    write_masks(folder, zip(names, found, strict=True), data.label_map)
    metric = Confusion(21)
    metric.update([one for _, one in read_masks(folder, names, data.label_map)], batch)
    values = metric.compute()
    assert values["mIoU"] >= 0.9
    assert 21 - values["absent_classes"] >= 5
