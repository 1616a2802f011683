"""What is asked of Lightning's strategies, whichever a recipe names: checkpoints that are single files, and data."""

from pathlib import Path
from typing import Any

from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy, Strategy

from visionlab.run import is_whole


def keep_single_files(strategy: Strategy) -> None:
    """Make checkpoints single files, which are put in place at once, are checked, and run no code when they are read.
    Sharded ones are folders of pickles.

    Raises:
        ValueError: if the strategy knows no others.
    """
    if isinstance(strategy, ModelParallelStrategy):
        strategy._save_distributed_checkpoint = False
    elif isinstance(strategy, FSDPStrategy):
        if strategy._state_dict_type != "full":
            raise ValueError("trainer.strategy: sharded checkpoints cannot be checked; give state_dict_type: full")
        load = strategy.load_checkpoint

        def load_data(checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
            # Lightning 2.6.6 unpickles whatever the file holds, whatever weights_only says
            if not is_whole(Path(checkpoint_path)):
                raise ValueError(f"{checkpoint_path} is damaged, or holds more than tensors and plain types")
            return load(checkpoint_path, weights_only)

        strategy.load_checkpoint = load_data  # type: ignore[method-assign]
    elif isinstance(strategy, DeepSpeedStrategy):
        raise ValueError("trainer.strategy: DeepSpeed's checkpoints are folders of pickles; use fsdp instead")
