"""Attacks against torchattacks and foolbox on the same net and images.

- PGD-10 on a residual net of six convolutions with BatchNorm, 64 images of 3 x 32 x 32: on the folded copy of the net,
  which is made anew in each round, in float32 and, for adversarial training, in bfloat16; how many pixels end
  elsewhere, and how the gradients in bfloat16 lie to those in float32.
- PGD-50 on digits, with images dropped as soon as they are fooled, on a net trained plainly and one trained
  adversarially; whether the verdict on each image is that of a loop that drops none.

CPU time of one thread; the sides take turns, and the ratio is taken within each round.

Usage: uv run --with foolbox python benchmarks/attacks.py [rounds]
"""

import statistics
import sys
import time
from collections.abc import Callable

import foolbox
import torch
import torchattacks
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from visionlab.attacks.folding import folded
from visionlab.attacks.losses import margin
from visionlab.attacks.model import Classifier, gradients
from visionlab.attacks.pgd import PGD

EPS, STEP = 8 / 255, 2 / 255


class Residual(nn.Module):
    """Two convolutions around which the input is added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*conv(width, width), nn.ReLU(), *conv(width, width))

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(maps + self.layers(maps))


def conv(given: int, width: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(given, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)


def make_net() -> nn.Module:
    """As a trained one: BatchNorm has moved on from where it starts."""
    torch.manual_seed(0)
    layers = [*conv(3, 32), nn.ReLU(), Residual(32), *conv(32, 64, 2), nn.ReLU(), Residual(64)]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    for _ in range(20):
        net(torch.rand(64, 3, 32, 32))
    return net.eval()


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def compare(sides: dict[str, Callable[[], object]], rounds: int) -> None:
    """Print how many times as long as the first side the others take."""
    rows = [[seconds(run) for run in sides.values()] for _ in range(rounds + 1)][1:]  # the first round warms up
    first, *others = zip(*rows, strict=True)
    print(f"{next(iter(sides))}: {statistics.median(first) * 1e3:.0f} ms")
    for name, times in zip(list(sides)[1:], others, strict=True):
        ratios = [b / a for a, b in zip(first, times, strict=True)]
        print(f"  {name}: ratio {statistics.median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]")


def ten_steps(rounds: int) -> None:
    """PGD-10."""
    net = make_net()
    images = torch.rand(64, 3, 32, 32)
    with torch.no_grad():
        labels = net(images).argmax(1)
    attack = PGD(EPS, 10, STEP)

    def ours(precision: torch.dtype = torch.float32) -> Tensor:
        model = Classifier(folded(net, images), labels, torch.arange(64), precision=precision)
        return attack(model, images)

    reference = torchattacks.PGD(net, EPS, STEP, 10)
    other = foolbox.attacks.LinfPGD(abs_stepsize=STEP, steps=10, random_start=True)
    wrapped = foolbox.PyTorchModel(net, bounds=(0, 1))
    sides = {
        "PGD-10": ours,
        "torchattacks": lambda: reference(images, labels),
        "foolbox": lambda: other(wrapped, images, foolbox.criteria.Misclassification(labels), epsilons=[EPS]),
    }
    compare(sides, rounds)
    compare({"PGD-10 in bfloat16": lambda: ours(torch.bfloat16), "torchattacks": sides["torchattacks"]}, rounds)

    fixed = PGD(EPS, 10, STEP, random_start=False)
    plain, fast = (Classifier(some, labels, torch.arange(64)) for some in (net, folded(net, images)))
    moved = (fixed(plain, images) - fixed(fast, images)).abs() > 1e-6
    print(f"pixels that end elsewhere with the folded copy: {moved.float().mean():.1e}")
    coarse = Classifier(fast.net, labels, fast.ids, precision=torch.bfloat16)
    exact, found = gradients(fast, images).flatten(1), gradients(coarse, images).flatten(1)
    signs = (exact.sign() == found.sign()).float().mean()
    print(f"bfloat16: cosine {F.cosine_similarity(exact, found).mean():.4f}, {signs:.1%} of signs equal")
    with torch.no_grad():
        gains = [float(margin(net(some), labels).mean()) for some in (images, ours(), ours(torch.bfloat16))]
    print("mean margin: clean {:.4f}, PGD-10 {:.4f}, PGD-10 in bfloat16 {:.4f}".format(*gains))


def train(adversarially: bool) -> tuple[nn.Module, Tensor, Tensor]:
    """A net on digits, and the digits that it has not seen."""
    data = load_digits()
    images, labels = torch.tensor(data.images / 16, dtype=torch.float32)[:, None], torch.tensor(data.target)
    torch.manual_seed(0)
    layers = [*conv(1, 16), nn.ReLU(), *conv(16, 32), nn.ReLU(), *conv(32, 32, 2), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(10):
        for some in torch.randperm(1285).split(64):
            given = images[some]
            if adversarially:
                given = PGD(0.2, 5)(Classifier(net.eval(), labels[some], some), given)
            optimizer.zero_grad()
            F.cross_entropy(net.train()(given), labels[some]).backward()
            optimizer.step()
    return net.eval(), images[1285:], labels[1285:]


def fifty_steps(kind: str, rounds: int) -> None:
    """PGD-50, with fooled images dropped."""
    net, images, labels = train(kind == "robust")
    model = Classifier(folded(net, images), labels, torch.arange(len(labels)))
    keep, drop = PGD(0.2, 50), PGD(0.2, 50, drop_fooled=True)
    compare(
        {f"PGD-50, dropping, {kind} net": lambda: drop(model, images), "keeping": lambda: keep(model, images)}, rounds
    )
    with torch.no_grad():
        fooled = model.fooled(model.logits(images))
        clean = 1 - fooled.float().mean()
        moved = keep.start(images, model.ids, 0)
        for step in range(51):
            fooled |= model.fooled(model.logits(moved))
            if step < 50:
                moved = keep.step(moved, gradients(model, moved), images)
        last, dropped = (model.fooled(model.logits(found)) for found in (moved, drop(model, images)))
    print(
        f"  accuracy: clean {clean:.1%}, robust {1 - dropped.float().mean():.1%}; {len(labels)} verdicts, of which "
        f"{int((dropped != fooled).sum())} differ from fooled at any step, {int((dropped != last).sum())} from the last"
    )


def main(rounds: int) -> None:
    """Print all."""
    torch.set_num_threads(1)
    ten_steps(rounds)
    for kind in ("standard", "robust"):
        fifty_steps(kind, rounds)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
