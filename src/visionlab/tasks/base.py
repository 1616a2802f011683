"""What all tasks share: the net, one ``step`` for every stage, exact metrics, and logging that costs next to nothing;
and what those with one optimizer share.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric

from visionlab.batch import Step, to_unit
from visionlab.metrics.by_image import ByImage
from visionlab.metrics.by_objects import ByObjects, Table
from visionlab.metrics.loss import Losses
from visionlab.processes import gather


@dataclass
class LRSchedule:
    """A learning-rate scheduler and when it steps. Several act together, for torch's schedulers chain: a warm-up per
    step and a decay per epoch are two of these.

    Attributes:
        scheduler: any scheduler of torch, by class path; its optimizer comes from the task.
        interval: whether it steps after each optimizer step or after each epoch.
        monitor: the logged metric that a ReduceLROnPlateau watches.
    """

    scheduler: Callable[[Optimizer], LRScheduler]
    interval: Literal["step", "epoch"] = "epoch"
    monitor: str | None = None


class Scores(Protocol):
    """Makes other metrics than the official ones of a data set: those of generated images.

    Attributes:
        samples: how many images are generated for one evaluation; None for as many as the split has.
        monitor: the metric that says which weights are best, as ``<protocol>/<metric>``; None where none does, and the
            newest are taken.
        mode: whether more or less of it is better.
    """

    samples: int | None
    mode: Literal["max", "min"]

    @property
    def monitor(self) -> str | None: ...

    def __call__(self, data: Any) -> dict[str, Metric]:
        """New metrics, by protocol, given the data module."""


class AnyTask(LightningModule, ABC):
    """How a batch becomes losses, predictions and metrics, however the net is trained. A subclass gives ``step``, and
    how it trains: ``training_step`` and ``configure_optimizers``; :class:`Task` has these for one optimizer.

    Training losses are summed on the device and logged every ``log_every_n_steps`` steps as the exact mean since the
    last time; evaluation is computed once an epoch. The x-axis of everything logged is the number of training steps.

    Args:
        num_classes: of the data set, which the command line links to it.
        net: makes the net, given ``num_classes``.
        lr_schedulers: learning-rate schedulers, if any.
        scores: makes the metrics; None for the official ones of the data set.

    Attributes:
        scores: as given; they rather than the data set then say which weights are best.
        records: what the last evaluation kept about each image, by name, ``(N, ...)``, in the order of ``ids``.
        found: the objects that the metrics of the last evaluation were given, on all processes, by protocol, the places
            of their images in the order of ``records``; empty in training, which keeps them for no one.
        results: by stage (``val``, ``test``), all that the last evaluation computed, by logged name: scalars, values by
            class, matrices.
        losses: the per-image losses of the evaluation that runs or ran last.
        metrics: the metrics of the data set, by protocol.
        ragged: whether the images of a batch are a list, of any sizes, rather than stacked.
        needs_gradients: whether evaluation does, as attacks do: Lightning's inference mode has none.
        best_by: what stands between the stage and the protocol in the name of the metric by which weights are best.
    """

    ragged = False
    needs_gradients = False
    best_by = ""

    def __init__(
        self,
        num_classes: int,
        net: Callable[[int], nn.Module],
        lr_schedulers: Sequence[LRSchedule] = (),
        scores: Scores | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.net = net(num_classes)
        self.lr_schedules, self.scores = lr_schedulers, scores
        self.losses = Losses()
        self.metrics: dict[str, Metric] = {}
        self.results: dict[str, dict[str, Tensor]] = {}
        self.records: dict[str, Tensor] = {}
        self.found: dict[str, Table] = {}
        self.window: dict[str, Tensor] = {}
        self.window_counts: dict[str, int] = {}
        self.first_bad_step: Tensor | None = None

    @abstractmethod
    def step(self, batch: Any) -> Step:
        """The one forward pass that training, evaluation, prediction and attacks share; see
        :class:`visionlab.batch.Step`.

        Args:
            batch: as :mod:`visionlab.batch` gives it for the task, on the task's device, images float in [0, 1].
        """

    def configure_model(self) -> None:
        """Share the net's parameters out where the strategy has a mesh of devices (FSDP2): each part of the net that is
        called by itself, then what is left of it.
        """
        if self.device_mesh is None or isinstance(self.net, FSDPModule):
            return
        mesh = self.device_mesh["data_parallel"]
        for part in self.net.children():
            if type(part).forward is not nn.Module.forward and any(True for _ in part.parameters()):
                fully_shard(part, mesh=mesh)
        fully_shard(self.net, mesh=mesh)

    def setup(self, stage: str) -> None:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if data is not None:  # loaders may be given by hand
            metrics = data.metrics() if self.scores is None else self.scores(data)
            self.metrics = {protocol: metric.to(self.device) for protocol, metric in metrics.items()}

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        images, dtype = batch["images"], self.dtype
        assert isinstance(dtype, torch.dtype)
        if isinstance(images, Tensor):
            return {**batch, "images": to_unit(images, dtype)}
        return {**batch, "images": [to_unit(image, dtype) for image in images]}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load the weights of a checkpoint.

        Raises:
            ValueError: if they are not of this net.
        """
        try:
            return super().load_state_dict(state_dict, strict, assign)
        except RuntimeError as error:
            first = str(error).splitlines()[1].strip()
            raise ValueError(f"the weights do not fit the net {type(self.net).__name__}: {first[:300]}") from error

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate(batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        self._finish("val")

    def on_test_epoch_end(self) -> None:
        self._finish("test")

    def _evaluate(self, batch: Any) -> None:
        step = self.step(batch)
        if step.losses:
            self.losses.update(step.losses, batch)
        predictions = step.predict()
        about = batch if step.ids is None else {"ids": step.ids}
        for metric in self.metrics.values():
            metric.update(predictions, about)

    def _finish(self, stage: Literal["val", "test"]) -> None:
        results: dict[str, Tensor] = {}
        if self.losses.batches:  # on every process alike: each has at least one batch
            results |= {f"{stage}/{name}": value for name, value in self.losses.compute().items()}
        for protocol, metric in self.metrics.items():
            results |= {f"{stage}/{protocol}/{name}": value for name, value in metric.compute().items()}
        self.records = {}
        wanted = self.metrics if self.trainer.state.fn != "fit" else {}
        self.found = {protocol: metric.found for protocol, metric in wanted.items() if isinstance(metric, ByObjects)}
        for metric in (self.losses, *self.metrics.values()):
            if isinstance(metric, ByImage):
                self.records |= metric.records
            metric.reset()
        self.results[stage] = results
        scalars = {name: float(value) for name, value in results.items() if value.ndim == 0}
        self.log_dict(scalars, logger=False)  # for callbacks; loggers are told below, with the step that all of us mean
        if not self.trainer.sanity_checking:
            self._tell_loggers(scalars, self.global_step)

    def _tell_loggers(self, scalars: dict[str, float], step: int) -> None:
        for logger in self.trainer.loggers:
            logger.log_metrics({"epoch": self.current_epoch, **scalars}, step)

    def note_losses(self, losses: dict[str, Tensor], step: int) -> None:
        """Sum training losses, one scalar each, to be logged as means, each over the steps that had it. A step in which
        one of them is not finite ends the run; it is named by ``step``, the number of steps before it.

        They are summed on the device, without waiting for it: a call of ``self.log`` costs 0.3 ms a step however seldom
        it logs.
        """
        for name, loss in losses.items():
            detached = loss.detach().double() if loss.device.type != "mps" else loss.detach()
            self.window[name] = self.window[name] + detached if name in self.window else detached
            self.window_counts[name] = self.window_counts.get(name, 0) + 1
        if self.first_bad_step is None:
            self.first_bad_step = torch.full((), torch.inf, device=self.device)
        all_of_them = losses["loss"] if "loss" in losses else torch.stack(list(losses.values())).sum()
        bad = torch.where(all_of_them.detach().isfinite(), torch.inf, float(step))
        self.first_bad_step = torch.minimum(self.first_bad_step, bad)

    def log_losses(self, step: int) -> None:
        """Log the means of the training losses since the last time, and the learning rates. Every process must call it.

        Args:
            step: how many training steps have been taken.
        """
        self.check_finite()
        states = gather(self.window_state())
        means = {
            f"train/{name}": sum(state["sums"].get(name, 0.0) for state in states)
            / sum(state["counts"].get(name, 0) for state in states)
            for name in states[0]["sums"]
        }
        groups = [group for optimizer in self.trainer.optimizers for group in optimizer.param_groups]
        rates = {f"train/lr{'' if i == 0 else f'_{i}'}": group["lr"] for i, group in enumerate(groups)}
        shown = {"train/loss": means["train/loss"]} if "train/loss" in means else means
        self.log_dict(shown, prog_bar=True, logger=False)
        self._tell_loggers(means | rates, step)
        self.load_window_state({"sums": {}, "counts": {}})

    def window_state(self) -> dict[str, Any]:
        """The sums of the training losses since they were last logged, as plain numbers, to be saved for an exact
        continuation.
        """
        sums = {name: float(value) for name, value in self.window.items()}
        return {"sums": sums, "counts": dict(self.window_counts)}

    def load_window_state(self, state: dict[str, Any]) -> None:
        """Continue the sums of ``state``."""
        dtype = torch.float64 if self.device.type != "mps" else torch.float32
        self.window = {name: torch.tensor(v, dtype=dtype, device=self.device) for name, v in state["sums"].items()}
        self.window_counts = dict(state["counts"])

    def check_finite(self) -> None:
        """Stop on all processes if a training loss on any of them was not finite.

        Raises:
            FloatingPointError: names the first such step.
        """
        first = torch.inf if self.first_bad_step is None else float(self.first_bad_step)
        bad = [name for name, total in self.window_state()["sums"].items() if not math.isfinite(total)]
        answers = gather((first, bad))
        first = min(step for step, _ in answers)
        if first < torch.inf:
            parts = sorted({name for _, names in answers for name in names} - {"loss"})
            of_parts = f" ({', '.join(parts)})" if len(parts) > 0 else ""
            raise FloatingPointError(
                f"the training loss{of_parts} was not finite at step {int(first)} (epoch {self.current_epoch})"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.check_finite()
        for name, value in self.named_parameters():
            if not value.isfinite().all():
                raise FloatingPointError(
                    f"{name} was not finite after step {self.global_step} (epoch {self.current_epoch})"
                )


class Task(AnyTask):
    """A task that one optimizer trains on the sum of its losses. A subclass gives ``step``.

    Args:
        num_classes: of the data set, which the command line links to it.
        net: makes the net, given ``num_classes``.
        optimizer: makes the optimizer, given the parameters.
        lr_schedulers: learning-rate schedulers, if any.
    """

    def __init__(
        self,
        num_classes: int,
        net: Callable[[int], nn.Module],
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        lr_schedulers: Sequence[LRSchedule] = (),
    ) -> None:
        super().__init__(num_classes, net, lr_schedulers)
        self.make_optimizer = optimizer

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(p for p in self.parameters() if p.requires_grad)
        schedulers = [
            {"scheduler": s.scheduler(optimizer), "interval": s.interval, "monitor": s.monitor}
            for s in self.lr_schedules
        ]
        return [optimizer], schedulers

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        losses = {name: loss.mean() for name, loss in self.step(batch).losses.items()}
        total = torch.stack(list(losses.values())).sum()
        self.note_losses({**losses, "loss": total} if len(losses) > 1 else {"loss": total}, self.global_step)
        accumulate = self.trainer.accumulate_grad_batches
        steps_now = (batch_idx + 1) % accumulate == 0 or batch_idx + 1 == self.trainer.num_training_batches
        if steps_now and (self.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self.log_losses(self.global_step + 1)
        return total
