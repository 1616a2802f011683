"""All processes of a run continue from one checkpoint."""

from pathlib import Path

from lightning import Callback, LightningModule, Trainer


class FirstChooses(Callback):
    """Has all processes continue from what the first one chose, for they look at different times: meanwhile another
    run may have ended, or a disk may have shown a newer file.

    Args:
        checkpoint: the choice, on the first process; None to begin at the start.
    """

    def __init__(self, checkpoint: Path | None) -> None:
        self.checkpoint = checkpoint

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        chosen = trainer.strategy.broadcast(self.checkpoint)
        connector = trainer._checkpoint_connector

        def resume_start(checkpoint_path: str | Path | None = None, weights_only: bool | None = None) -> None:
            del connector.resume_start  # only this once
            connector.resume_start(chosen, weights_only)

        # Lightning 2.6.6 takes the path before the processes have met, and uses it after this hook
        connector.resume_start = resume_start  # type: ignore[method-assign]
