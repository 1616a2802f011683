"""How much faster Faster R-CNN trains on batches of images of alike aspect ratios than on mixed ones.

The net is a ResNet-18 with a feature pyramid at a small size, with 64 proposals an image in the head, so that most of
the time goes into the maps, as it does at full size. Both orders have all images of COCO's training split once an
epoch, in batches of the same number; they take turns, an epoch each. CPU time of one thread; the ratio is taken within
each round. Beside it, how many pixels the net computes on for one of the resized images.

Usage: python benchmarks/aspect_ratios.py ROOT_OF_COCO [--rounds 3] [--batch_size 4] [--short_side 128]
"""

import argparse
import statistics
import time
from typing import Any

import torch

from visionlab.data.coco import COCODetection
from visionlab.data.sampling import TrainBatches
from visionlab.nets.faster_rcnn import FasterRCNN
from visionlab.tasks.detection import Detection


class Pixels:
    """Counts what a detector's resizing gives."""

    def __init__(self) -> None:
        self.padded = self.own = 0

    def __call__(self, module: Any, given: Any, resized: Any) -> None:
        images = resized[0]
        batch, _, height, width = images.tensors.shape
        self.padded += batch * height * width
        self.own += sum(height * width for height, width in images.image_sizes)


def main(root: str, rounds: int, batch_size: int, short_side: int) -> None:
    """Print images a second of both orders, pixels computed on for each of the images', and the ratio of the rates."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = COCODetection(root, batch_size, num_workers=0, group_by_aspect_ratio=True).dataset("train")
    options = {"min_size": short_side, "max_size": short_side * 5 // 3, "box_batch_size_per_image": 64}
    task = Detection(
        80,
        lambda classes: FasterRCNN(classes, "resnet18", options=options),
        lambda parameters: torch.optim.SGD(parameters, 1e-3),
    )
    optimizer = task.make_optimizer(task.parameters())
    net: Any = task.net
    kinds = {"mixed": None, "grouped": data.groups}
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    counts = {kind: Pixels() for kind in kinds}
    for turn in range(rounds):
        for kind, groups in kinds.items():
            hook = net.net.transform.register_forward_hook(counts[kind])
            batches = TrainBatches(len(data), batch_size, seed=0, groups=groups)
            batches.epoch = turn
            seconds = 0.0
            for keys in batches:
                batch = data.__getitems__(keys)
                batch["images"] = [image / 255 for image in batch["images"]]
                start = time.process_time()
                loss: Any = sum(task.step(batch).losses.values())
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                seconds += time.process_time() - start
            hook.remove()
            rates[kind].append(len(batches) * batch_size / seconds)
    for kind in kinds:
        over = counts[kind].padded / counts[kind].own
        print(f"{kind}: {statistics.median(rates[kind]):.2f} images/s, {over:.3f} pixels computed on for each pixel")
    ratios = [grouped / mixed for mixed, grouped in zip(rates["mixed"], rates["grouped"], strict=True)]
    print(f"ratio {statistics.median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}], {rounds} rounds")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--short_side", type=int, default=128)
    main(**vars(parser.parse_args()))
