"""A recipe, brought to life: task, data and trainer, with a run folder."""

import copy
import logging
import os
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from jsonargparse import ArgumentError, get_loader, set_loader
from jsonargparse.typing import PositiveInt
from lightning import Trainer
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher

from visionlab.callbacks.checkpoints import AtomicCheckpointIO, Checkpoints
from visionlab.callbacks.ema import EMA
from visionlab.callbacks.gan_alarms import GANAlarms
from visionlab.callbacks.generated_pictures import GeneratedPictures
from visionlab.callbacks.nearest_neighbours import NearestNeighbours
from visionlab.callbacks.pictures import Pictures
from visionlab.callbacks.progress import Progress
from visionlab.callbacks.recipe import KeepRecipe
from visionlab.callbacks.results import WriteResults
from visionlab.callbacks.resume import ExactResume
from visionlab.callbacks.skipped import CountSkipped
from visionlab.callbacks.stop import StopOnSignal
from visionlab.callbacks.throughput import Throughput
from visionlab.callbacks.translations import ShowsImages, Translations
from visionlab.callbacks.watch import Watch
from visionlab.data.base import DataModule
from visionlab.launcher import Launcher
from visionlab.loggers import MetricsTable, open_wandb
from visionlab.mistakes import explain
from visionlab.preflight import check_network, check_processes
from visionlab.processes import is_first
from visionlab.run import Run
from visionlab.signals import StopRequest
from visionlab.slurm import check_tasks
from visionlab.strategies import keep_single_files
from visionlab.tasks.base import AnyTask
from visionlab.tasks.generation import Generation

# every number of ours is gathered from all processes before it is logged
warnings.filterwarnings("ignore", message=r".*sync_dist=True.*")
# the task brings images to [0, 1]; data sets are not meant to
warnings.filterwarnings("ignore", message=r".*You have overridden `on_after_batch_transfer` in `LightningModule`.*")
# training losses are summed over steps, so that none is lost in short epochs
warnings.filterwarnings("ignore", message=r".*is smaller than the logging interval.*")
# Lightning's own use of torch
warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
# albumentations' defaults are tuples, for which lists do as well
warnings.filterwarnings("ignore", message=r"(?s).*a tuple is serialized as list.*")
# in-memory data is fastest without loader processes, and recipes choose their number
warnings.filterwarnings("ignore", message=r".*does not have many workers.*")
# a schedule counts training steps, and the net of a GAN may take its first step later than the discriminator
warnings.filterwarnings("ignore", message=r".*Detected call of `lr_scheduler.step\(\)` before.*")
# Lightning recommends other products on every start
logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(lambda record: "Tip:" not in record.getMessage())

# jsonargparse 4.53 reads a value on the command line once at each `init_args`, and hands null on as the word None
_load_yaml = get_loader("yaml")
set_loader("yaml", lambda text: None if text == "None" else _load_yaml(text), exceptions=(yaml.YAMLError,))

PROCESS_TIMEOUT = timedelta(minutes=10)
"""How long a process may keep the others waiting. torch's 30 minutes for gloo are long on a cluster that counts them;
its 10 for NCCL are enough for what one process does alone: measure an evaluation, draw, save.
"""


class Experiment(LightningCLI):
    """Parses a recipe and makes its task, data and trainer. Nothing is run, and no folder made, until :meth:`start`.

    Args:
        args: as on the command line: ``["--config", "recipe.yaml", "--trainer.max_epochs", "3"]``.
        num_classes: what the net was made for, where a checkpoint says so; otherwise the data is asked, which may have
            to read its folder.

    Attributes:
        model: the task.
        datamodule: the data.
        trainer: made by :meth:`start`.
        run: the run folder, on the process that writes it, given to :meth:`start`.
        checkpoints: keeps them, where the run is recorded; made by :meth:`start`.
        watch: ends processes that hang; made by :meth:`start`.

    Raises:
        ValueError: if the recipe or an argument is wrong; the message names it, and the nearest right one.
    """

    model: AnyTask
    datamodule: DataModule
    checkpoints: Checkpoints
    watch: Watch
    run: Run | None = None

    def __init__(self, args: list[str], num_classes: int | None = None) -> None:
        self.known_classes = num_classes
        try:
            self._parse_and_make(args)
        except (ArgumentError, ValueError) as error:
            raise ValueError(explain(str(error), args)) from error

    def _parse_and_make(self, args: list[str]) -> None:
        super().__init__(
            AnyTask,
            DataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,  # the run folder has the configuration
            seed_everything_default=0,
            parser_kwargs={"exit_on_error": False, "allow_abbrev": False},
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            run=False,
            args=args,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--save_every_n_steps",
            type=int | None,
            default=None,
            help="Save within epochs too, so often in optimizer steps.",
        )
        parser.add_argument(
            "--threads",
            type=PositiveInt | None,
            default=None,
            help="CPU threads of each process; the last bits of a sum depend on them.",
        )
        parser.add_argument(
            "--weights",
            type=Literal["averaged", "raw"],
            default="averaged",
            help="Which weights are evaluated, where visionlab.callbacks.ema.EMA averages them.",
        )
        parser.link_arguments(
            "data", "model.init_args.num_classes", compute_fn=self._count_classes, apply_on="instantiate"
        )

    def _count_classes(self, data: DataModule) -> int:
        return data.num_classes if self.known_classes is None else self.known_classes

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        assert isinstance(args, list)
        self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        """Explicit flags win over what a checkpoint says: Lightning's version of this lets the checkpoint win,
        silently.
        """

    def before_instantiate_classes(self) -> None:
        self._places(self.config["trainer"])  # so that a wrong number is told before a run folder is made
        if self.config["threads"] is not None:
            torch.set_num_threads(self.config["threads"])

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Leave the trainer to :meth:`start`: a recipe that cannot be built leaves no run folder."""
        return None  # type: ignore[return-value]

    @property
    def recipe(self) -> str:
        """The resolved configuration, as YAML that ``--config`` takes."""
        config = self.config.clone()
        config.pop("config", None)
        return str(self.parser.dump(config, skip_unset=False))

    @property
    def resolved(self) -> dict[str, Any]:
        """The resolved configuration, as plain types."""
        return dict(yaml.safe_load(self.recipe))

    @property
    def has_trained(self) -> bool:
        """Whether a training step was taken."""
        return self.trainer is not None and self.trainer.global_step > 0

    @property
    def place(self) -> dict[str, Any]:
        """On what the run trains: the ``device``, the number of ``processes``, and whether it is ``deterministic``, so
        that continuing it is exact to the bit.
        """
        device = self.trainer.strategy.root_device
        return {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "processes": self.trainer.world_size,
            "deterministic": device.type == "cpu" or torch.are_deterministic_algorithms_enabled(),
        }

    @property
    def task_name(self) -> str:
        """What a table of results calls the net."""
        return type(self.model.net).__name__

    def start(self, run: Run | None, *, record: bool, request: StopRequest | None = None) -> Trainer:
        """Make the trainer.

        Args:
            run: the folder to leave results in; on other processes than the one that writes, None.
            record: whether to train: to keep checkpoints, the table of metrics and the W&B run.
            request: has noted signals since the program began.

        Raises:
            ValueError: if the trainer cannot be had here.
        """
        self.run, request = run, request or StopRequest()
        folder = Path("runs") if run is None else run.folder  # on other processes nothing is written to it
        config = copy.copy(self.config_init["trainer"])
        chosen = config.get("logger")
        self.watch = Watch(folder)
        callbacks: list[Any] = [
            self.watch,
            KeepRecipe(self.recipe, self.datamodule.label_map),
            WriteResults(folder),
            Pictures(folder),
            CountSkipped(),
            *([GeneratedPictures(folder), NearestNeighbours(folder)] if isinstance(self.model, Generation) else []),
            *([Translations(folder)] if isinstance(self.model, ShowsImages) else []),
        ]
        loggers: list[Logger] = []
        if record:
            judge = self.datamodule if self.model.scores is None else self.model.scores
            monitor = None if judge.monitor is None else f"val/{self.model.best_by}{judge.monitor}"
            every_n_steps = self.config["save_every_n_steps"]
            self.checkpoints = Checkpoints(folder / "checkpoints", monitor, judge.mode, every_n_steps)
            stop = StopOnSignal(self.checkpoints, request)
            if isinstance(self.model, Generation):
                callbacks.append(GANAlarms(folder / "checkpoints"))
            callbacks += [Throughput(folder), ExactResume(self.config["threads"]), stop, self.checkpoints]
            loggers = [MetricsTable(folder / "metrics.csv"), *self._chosen_loggers(chosen, run)]
        given = config["callbacks"] if isinstance(config["callbacks"], list) else [config["callbacks"]]
        for callback in given:
            if isinstance(callback, EMA):
                callback.weights = self.config["weights"]
        if config["enable_progress_bar"] is not False and not any(isinstance(c, ProgressBar) for c in given):
            callbacks.append(Progress())
        self.trainer_defaults["callbacks"] = callbacks
        plugins = config["plugins"] if isinstance(config["plugins"], list) else [config["plugins"]]
        chosen_environment = any(isinstance(plugin, ClusterEnvironment) for plugin in plugins)
        if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect() and not chosen_environment:
            # Lightning's requeueing saves inside its signal handler, and starts again at step 0 where it did not save
            plugins = [SLURMEnvironment(auto_requeue=False), *plugins]
        try:
            self.trainer = super().instantiate_trainer(
                logger=loggers,
                plugins=[AtomicCheckpointIO(), *(p for p in plugins if p is not None)],
                use_distributed_sampler=False,  # the loaders share the images out themselves, exactly
                default_root_dir=folder,
                **({"inference_mode": False} if self.model.needs_gradients else {}),
                **self._places(config),
            )
        except (MisconfigurationException, TypeError, ImportError) as error:
            # a device that is not there, arguments that exclude each other, a package that a strategy needs
            raise ValueError(f"trainer: {error}") from error
        strategy = self.trainer.strategy
        if record and isinstance(strategy.launcher, _MultiProcessingLauncher):
            strategy._launcher = Launcher(strategy.launcher, request)
        keep_single_files(strategy)
        check_tasks(self.trainer.num_devices, self.trainer.num_nodes)
        if self.trainer.world_size > 1:
            if isinstance(config["strategy"], str):
                self.trainer.strategy._timeout = PROCESS_TIMEOUT  # type: ignore[attr-defined]
            if "LOCAL_RANK" in os.environ:
                self.watch.expect_others(self.trainer)
            else:
                check_network()
        return self.trainer

    @staticmethod
    def _places(config: Any) -> dict[str, int]:
        """How many processes torchrun started on how many machines, where the recipe leaves it open.

        Raises:
            ValueError: if the recipe says otherwise.
        """
        started = check_processes(config["devices"], config["num_nodes"])
        return {} if started is None else {"devices": started[0], "num_nodes": started[1]}

    def _chosen_loggers(self, chosen: Any, run: Run | None) -> list[Logger]:
        if isinstance(chosen, Logger):
            return [chosen]
        if isinstance(chosen, list):
            return chosen
        if chosen is False or run is None or not is_first():
            return []
        name = f"{run.folder.parent.name}/{run.folder.name}"
        return [open_wandb(run.folder, run.info["wandb_id"], name, self.resolved)]
