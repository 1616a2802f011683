"""A checkpoint says by itself what it is."""

from typing import Any

from lightning import Callback, LightningModule, Trainer


class KeepRecipe(Callback):
    """Stores in each checkpoint the resolved configuration and the label map, as plain types.

    They stand in for Lightning's hyper-parameters, which make a checkpoint unloadable as soon as a path or a module is
    among them.

    Args:
        recipe: YAML.
        label_map: one ``{id, index, name}`` a class.
    """

    def __init__(self, recipe: str, label_map: list[dict[str, int | str]]) -> None:
        self.recipe, self.label_map = recipe, label_map

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["recipe"] = self.recipe
        checkpoint["label_map"] = self.label_map
