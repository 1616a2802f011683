"""What an evaluation leaves in the run folder, by the shapes of its results."""

import csv
import json
from types import SimpleNamespace

import torch

from visionlab.callbacks.results import WriteResults


def written(folder, results):
    data = SimpleNamespace(classes=("cat", "dog", "cow"))
    trainer = SimpleNamespace(is_global_zero=True, datamodule=data)
    task = SimpleNamespace(
        results={"test": {f"test/{name}": value for name, value in results.items()}}, records={}, found={}
    )
    WriteResults(folder).on_test_end(trainer, task)
    files = {path.name: path for path in (folder / "results").iterdir()}
    scalars = json.loads(files.pop("test.json").read_text())
    return scalars, {name: list(csv.reader(path.open())) for name, path in files.items()}


def test_results_go_where_their_shapes_say(tmp_path):
    scalars, tables = written(
        tmp_path,
        {
            "box/AP": torch.tensor(0.5),
            "box/AP_small": torch.tensor(torch.nan),
            "box/AP_per_class": torch.tensor([0.5, 0.25, 1]),
            "mask/AP_per_class": torch.tensor([1.0, 2, 3]),
            "pck/PCK_per_keypoint": torch.tensor([0.5, 1.0]),
            "box/curve": torch.arange(4.0).reshape(2, 2),
            "mask/curve": torch.arange(4.0, 8).reshape(2, 2),
            "box/curve_per_class": torch.arange(6.0).reshape(3, 2),
            "box/confusion": torch.eye(3),
        },
    )
    assert scalars == {"test/box/AP": 0.5, "test/box/AP_small": None}  # NaN is no JSON
    assert tables == {
        "test_per_class.csv": [
            ["class", "box/AP_per_class", "mask/AP_per_class"],
            ["cat", "0.5", "1.0"],
            ["dog", "0.25", "2.0"],
            ["cow", "1.0", "3.0"],
        ],
        "test_PCK_per_keypoint.csv": [["PCK_per_keypoint"], ["0.5"], ["1.0"]],
        "test_box_curve.csv": [["0", "1"], ["0.0", "1.0"], ["2.0", "3.0"]],
        "test_mask_curve.csv": [["0", "1"], ["4.0", "5.0"], ["6.0", "7.0"]],
        "test_curve_per_class.csv": [
            ["class", "0", "1"],
            ["cat", "0.0", "1.0"],
            ["dog", "2.0", "3.0"],
            ["cow", "4.0", "5.0"],
        ],
        "test_confusion.csv": [
            ["class", "cat", "dog", "cow"],
            ["cat", "1.0", "0.0", "0.0"],
            ["dog", "0.0", "1.0", "0.0"],
            ["cow", "0.0", "0.0", "1.0"],
        ],
    }


def test_no_classes_no_table_of_classes(tmp_path):
    scalars, tables = written(tmp_path, {"loss": torch.tensor(1.5)})
    assert scalars == {"test/loss": 1.5}
    assert tables == {}
