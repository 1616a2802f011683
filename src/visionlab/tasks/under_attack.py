"""A task under attack: batches with images that were moved, and the metrics of what it then predicts."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from visionlab.attacks.base import Attack
from visionlab.attacks.model import frozen, zero_share
from visionlab.metrics.by_image import ByImage, Entries
from visionlab.tasks.base import Task
from visionlab.tasks.objectives import Objective, subset

PER_IMAGE = ("linf", "l2", "zero_gradients", "loss")


class UnderAttack(ByImage):
    """The metrics of a data set on images that are attacked when they are added.

    ``compute`` gives those metrics as ``<protocol>/<metric>``; ``loss``, the task's own; and how far images were moved:
    ``linf`` and ``l2``, the furthest, in pixels of [0, 1]; and ``zero_gradients``, the mean share of an image's
    gradient that is exactly 0 before it is moved. ``records`` holds these of each image, and what the metrics keep
    about it, as ``<name>_under_<attack>``.

    Everything is computed in float32. Images of any sizes are attacked one at a time.

    Args:
        name: of the attack.
        task: in evaluation mode.
        attack: None for none.
        objective: what it raises.
        metrics: by protocol.
    """

    def __init__(
        self, name: str, task: Task, attack: Attack | None, objective: Objective, metrics: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.name, self.objective = name, objective
        self.task = (task,)  # in a tuple, for a metric that holds a module would make a copy of it its own
        self.attack = attack
        self.protocols: dict[str, ByImage] = dict(metrics)

    def record(self, predictions: Any, batch: Any) -> dict[str, Entries]:
        """Attack the batch; the predictions, which are of images that were not moved, are not looked at."""
        (task,) = self.task
        with torch.autocast(task.device.type, enabled=False):
            moved, zeros = batch, torch.full((len(batch["ids"]),), torch.nan)
            if self.attack is not None:
                moved, zeros = (
                    attacked(task, batch, self.attack, self.objective),
                    zero_shares(task, batch, self.objective),
                )
            step = task.step(moved)
            found = step.predict()
        deltas = [(a - b).flatten() for a, b in zip(moved["images"], batch["images"], strict=True)]
        kept: dict[str, Entries] = {
            "linf": torch.stack([delta.abs().max() for delta in deltas]),
            "l2": torch.stack([torch.linalg.vector_norm(delta) for delta in deltas]),
            "zero_gradients": zeros,
        }
        if step.losses:
            losses = [loss.detach().expand(len(deltas)) for loss in step.losses.values()]
            kept["loss"] = torch.stack(losses).sum(0)
        for protocol, metric in self.protocols.items():
            kept |= {f"{protocol}/{name}": entries for name, entries in metric.record(found, batch).items()}
        return kept

    def evaluate(self, records: dict[str, Any]) -> dict[str, Tensor]:
        """What the class says under ``compute``."""
        results: dict[str, Tensor] = {}
        about: dict[str, Tensor] = {name: records[name] for name in PER_IMAGE if name in records}
        for protocol, metric in self.protocols.items():
            prefix = f"{protocol}/"
            mine = {name.removeprefix(prefix): kept for name, kept in records.items() if name.startswith(prefix)}
            mine["ids"] = records["ids"]
            metric.records = {name: kept for name, kept in mine.items() if isinstance(kept, Tensor)}
            results |= {f"{prefix}{name}": value for name, value in metric.evaluate(mine).items()}
            about |= {name: kept for name, kept in metric.records.items() if name != "ids"}
        for name in ("linf", "l2"):
            results[name] = records[name].double().max()
        for name in ("zero_gradients", "loss"):
            if name in records:
                results[name] = torch.tensor(records[name].double().numpy().mean())
        if self.attack is None:
            del results["zero_gradients"]
        self.records = {"ids": records["ids"], **{f"{name}_under_{self.name}": kept for name, kept in about.items()}}
        return results


def attacked(task: Task, batch: Any, attack: Attack, objective: Objective) -> Any:
    """The batch with images that were attacked: at once where they are of one size, else one at a time. The task is
    left as it was.

    Args:
        task: whose loss is raised.
        batch: of the task, on its device, images float32 in [0, 1].
        attack: moves the images.
        objective: what it raises.

    Raises:
        ValueError: if a tensor of the batch was made in inference mode, which no gradient survives, or the images are
            not as :class:`visionlab.attacks.base.Attack` wants them.
    """
    check_attackable(batch)
    images = batch["images"]
    with frozen(task), torch.enable_grad():
        if isinstance(images, Tensor):
            return {**batch, "images": attack(objective(task, batch), images)}
        alone = [one_image(batch, i) for i in range(len(images))]
        moved = [attack(objective(task, one), image[None])[0] for one, image in zip(alone, images, strict=True)]
    return {**batch, "images": moved}


def zero_shares(task: Task, batch: Any, objective: Objective) -> Tensor:
    """``(B,)``, the share of each image's gradient that is exactly 0."""
    images = batch["images"]
    with frozen(task):
        if isinstance(images, Tensor):
            return zero_share(objective(task, batch), images)
        alone = [one_image(batch, i) for i in range(len(images))]
        each = [zero_share(objective(task, one), image[None]) for one, image in zip(alone, images, strict=True)]
    return torch.cat(each)


def check_attackable(batch: Any) -> None:
    """Refuse what was made in inference mode.

    Raises:
        ValueError: if anything was.
    """
    tensors = [*batch["images"], *(value for value in batch.values() if isinstance(value, Tensor))]
    tensors += [value for target in batch.get("targets", ()) for value in target.values()]
    if any(tensor.is_inference() for tensor in tensors):
        raise ValueError(
            "this batch was made in inference mode, and has no gradients: evaluate with Trainer(inference_mode=False)"
        )


def one_image(batch: Any, index: int) -> Any:
    """The batch of one image: stacked, with its mask, or, with objects, a list."""
    one = subset(batch, [index])
    if "targets" in one:
        return one
    return {name: torch.stack(value) if name in ("images", "masks") else value for name, value in one.items()}
