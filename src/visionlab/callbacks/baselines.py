"""What classic methods reach on the same split, to read a net's accuracy against."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits


class PixelBaselines(Callback):
    """Fits logistic regression and a support vector machine (RBF kernel) to the raw pixels of the training split when a
    run is tested, and writes their top-1 accuracy to ``results/test_baselines.json``, from where it stands beside the
    net's in the table of results.

    For small data sets kept in memory: the digits take two seconds.
    """

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        train, test = data.dataset("train"), data.dataset("test")
        methods = {"logistic regression": LogisticRegression(max_iter=1000), "SVM": SVC()}
        results = {}
        for name, method in methods.items():
            # BLAS has threads of its own, which wait for each other for most of a minute on a busy machine
            with threadpool_limits(torch.get_num_threads()):
                fitted = method.fit(_pixels(train.images), train.labels)
                right = fitted.predict(_pixels(test.images)) == test.labels
            results[name] = {"test/single_label/top1": float(right.mean())}
        folder = Path(trainer.default_root_dir) / "results"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "test_baselines.json").write_text(json.dumps(results, indent=2) + "\n")


def _pixels(images: Any) -> Any:
    return images.reshape(len(images), -1).astype(np.float64) / 255
