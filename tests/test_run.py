"""The run folder holds what it says, and says what is true."""

import csv
import json
import random
import shutil
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from sklearn.datasets import load_digits

from stand_ins import FewDigits
from visionlab.cli import main
from visionlab.loggers import read_metrics
from visionlab.run import FORMAT, Run, find_unfinished, is_whole


def per_image(run, stage):
    with (run / "per_image" / f"{stage}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def results(run, stage):
    return json.loads((run / "results" / f"{stage}.json").read_text())


def test_everything_is_there(finished):
    files = {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()}
    assert files == {
        "run.json",
        "config.yaml",
        "metrics.csv",
        "lock",
        "results/train.json",
        *(
            f"results/{stage}{rest}"
            for stage in ("val", "test")
            for rest in (".json", "_per_class.csv", "_confusion.csv")
        ),
        *(f"per_image/{stage}.csv" for stage in ("val", "test")),
        *(f"checkpoints/{name}.ckpt" for name in ("best", "last", "previous")),
        *(f"pictures/{name}.png" for name in ("train_samples", "curves")),
        *(f"pictures/{stage}_{name}.png" for stage in ("val", "test") for name in ("worst", "confusion")),
    }
    for picture in finished.glob("pictures/*.png"):
        with Image.open(picture) as image:
            assert min(image.size) > 100


def test_run_json_tells_how_it_came_about(finished):
    info = Run.open(finished).info
    assert info["format"] == FORMAT
    assert info["state"] == "finished"
    assert info["command"] == sys.argv
    assert torch.__version__.startswith(info["versions"]["torch"])
    assert info["versions"].keys() >= {"visionlab", "python", "lightning", "albumentations"}
    assert info["job"] is None
    assert info["place"] == {"device": "cpu", "processes": 1, "deterministic": True}
    assert info["wandb_id"].startswith("tiny-0-")


def test_the_git_state_is_that_of_the_working_directory(tmp_path):
    assert Run.create(tmp_path / "runs", "a: 1").info["git"] is None


def test_the_configuration_fits_again_to_the_same_bits(finished):
    assert main(["fit", "--config", str(finished / "config.yaml"), "--runs", "again"]) == 0
    again = Path("again/tiny/0")  # filed under the recipe's name, not "config"
    assert (again / "config.yaml").read_text() == (finished / "config.yaml").read_text()
    assert (again / "metrics.csv").read_text() == (finished / "metrics.csv").read_text()
    one, other = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (finished, again)
    )
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_results_are_what_was_logged(finished):
    logged = {name: dict(zip(*series, strict=True)) for name, series in read_metrics(finished / "metrics.csv").items()}
    for name, value in results(finished, "val").items():
        assert logged[name][36] == value
    for name, value in results(finished, "test").items():
        assert list(logged[name].values()) == [value]
    assert list(logged["train/loss"]) == list(range(5, 37, 5))


def test_a_row_for_every_image_says_which_and_how_it_was_judged(finished):
    data = FewDigits()
    for stage in ("val", "test"):
        split, table = data.dataset(stage), per_image(finished, stage)
        assert [row["id"] for row in table] == [split.name(i) for i in range(len(split))]
        first = 0 if stage == "val" else 320
        truth = load_digits().target
        assert [int(row["label"]) for row in table] == [truth[first + int(row["id"])] for row in table]
        scores = results(finished, stage)
        loss = sum(float(row["loss"]) for row in table) / len(table)
        assert loss == pytest.approx(scores[f"{stage}/loss"], rel=1e-12)
        right = sum(row["label"] == row["prediction"] for row in table)
        assert right / len(table) == pytest.approx(scores[f"{stage}/single_label/top1"], abs=1e-7)


def test_the_confusion_matrix_and_the_classes_add_up(finished):
    table = per_image(finished, "test")
    with (finished / "results" / "test_confusion.csv").open(newline="") as file:
        matrix = {row.pop("class"): {name: float(n) for name, n in row.items()} for row in csv.DictReader(file)}
    for truth, row in matrix.items():
        for predicted, count in row.items():
            assert count == sum((r["label"], r["prediction"]) == (truth, predicted) for r in table)
    with (finished / "results" / "test_per_class.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            mine = matrix[row["class"]]
            assert float(row["single_label/accuracy_per_class"]) == pytest.approx(
                mine[row["class"]] / sum(mine.values()), abs=1e-6
            )


def test_the_best_checkpoint_is_of_the_best_validation(finished):
    steps, values = read_metrics(finished / "metrics.csv")["val/single_label/top1"]
    best = max(range(len(values)), key=lambda i: (values[i], i))  # the later of equals
    assert torch.load(finished / "checkpoints" / "best.ckpt", weights_only=True)["global_step"] == steps[best]
    assert torch.load(finished / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 36
    assert torch.load(finished / "checkpoints" / "previous.ckpt", weights_only=True)["global_step"] == 18


def test_runs_are_numbered_upwards(tmp_path):
    parent = tmp_path / "runs"
    assert [Run.create(parent, "").folder.name for _ in range(3)] == ["0", "1", "2"]
    (parent / "1").rename(parent / "kept")
    (parent / "17").mkdir()
    assert Run.create(parent, "").folder.name == "18"


def test_runs_that_start_at_once_get_folders_of_their_own(tmp_path):
    together = threading.Barrier(16)
    made = []

    def create():
        together.wait()
        made.append(Run.create(tmp_path / "runs", "").folder.name)

    threads = [threading.Thread(target=create) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made, key=int) == [str(i) for i in range(16)]


def test_the_newest_unfinished_run_with_the_same_configuration_is_found(tmp_path):
    def unfinished(config):
        found = find_unfinished(tmp_path, config)
        return found.folder.name if found else None

    for config, state in (("a: 1", "stopped"), ("a: 2", "failed"), ("a: 1", "running"), ("a: 1", "finished")):
        Run.create(tmp_path, config).mark(state)
    assert unfinished({"a": 1}) == "2"
    assert unfinished({"a": 2}) == "1"
    assert unfinished({"a": 3}) is None
    for _ in range(8):
        Run.create(tmp_path, "a: 2").mark("stopped")
    assert unfinished({"a": 2}) == "11"  # newer than 9


def test_the_run_of_this_job_is_found_whatever_its_configuration(tmp_path, monkeypatch):
    Run.create(tmp_path, "a: 1").mark("stopped")
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    mine = Run.create(tmp_path, "a: 2")
    monkeypatch.setenv("SLURM_JOB_ID", "6")
    Run.create(tmp_path, "a: 3")
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    assert find_unfinished(tmp_path, {"a": 1}) == mine
    mine.mark("finished")
    assert find_unfinished(tmp_path, {"a": 1}).folder.name == "0"


def test_opening_what_is_no_run(tmp_path):
    with pytest.raises(ValueError, match=r"is not a run folder: it has no run\.json"):
        Run.open(tmp_path)
    run = Run.create(tmp_path, "")
    (run.folder / "run.json").write_text(json.dumps({**run.info, "format": FORMAT + 1}))
    with pytest.raises(ValueError, match=f"run folder format {FORMAT + 1}; this visionlab reads up to {FORMAT}"):
        Run.open(run.folder)


def test_another_process_never_reads_half_a_configuration(tmp_path):
    run = Run.create(tmp_path, "trainer: {max_epochs: 0}")
    with ThreadPoolExecutor() as pool:
        written = pool.submit(lambda: [run.reopen(f"trainer: {{max_epochs: {i}}}") for i in range(300)])
        while not written.done():
            assert run.config["trainer"]["max_epochs"] >= 0
            assert run.info["state"] == "running"
    written.result()


def test_continuing_writes_the_configuration_as_it_is_now(finished):
    shutil.copytree(finished, "copy/tiny/0")
    config = yaml.safe_load(Path("copy/tiny/0/config.yaml").read_text())
    words = ["--resume", "copy/tiny/0", "--trainer.max_epochs", "3"]
    assert main(["fit", "--config", "copy/tiny/0/config.yaml", *words]) == 0
    config["trainer"]["max_epochs"] = 3
    assert Run.open("copy/tiny/0").config == config
    assert Run.open("copy/tiny/0").info["wandb_id"] == Run.open(finished).info["wandb_id"]


def test_one_flipped_bit_is_noticed_or_does_no_harm(finished, tmp_path):
    path = finished / "checkpoints" / "last.ckpt"
    content, whole = path.read_bytes(), torch.load(path, weights_only=True)
    assert is_whole(path)
    damaged = tmp_path / "damaged.ckpt"
    draw = random.Random(0)
    directory = content.rindex(b"PK\1\2") - 400  # the last entries of the archive's directory, and its end
    noticed = 0
    for position in [*draw.sample(range(len(content)), 200), *draw.sample(range(directory, len(content)), 200)]:
        flipped = bytearray(content)
        flipped[position] ^= 1 << draw.randrange(8)
        damaged.write_bytes(flipped)
        if not is_whole(damaged):
            noticed += 1
            continue
        again = torch.load(damaged, weights_only=True)  # padding, names and dates are left
        for name, value in whole["state_dict"].items():
            assert torch.equal(value, again["state_dict"][name]), position
        assert again["optimizer_states"][0]["state"].keys() == whole["optimizer_states"][0]["state"].keys()
        assert again["recipe"] == whole["recipe"]
    assert noticed > 100


def test_one_flipped_bit_in_any_tensor_is_noticed(finished, tmp_path):
    path = finished / "checkpoints" / "last.ckpt"
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        records = [(entry.header_offset, entry.file_size) for entry in archive.infolist() if "/data/" in entry.filename]
    assert len(records) > 20
    for header, size in records:
        names, extra = (int.from_bytes(content[header + at : header + at + 2], "little") for at in (26, 28))
        flipped = bytearray(content)
        flipped[header + 30 + names + extra + size // 2] ^= 1
        (tmp_path / "damaged.ckpt").write_bytes(flipped)
        assert not is_whole(tmp_path / "damaged.ckpt")


@pytest.mark.parametrize("length", [0, 1, 100, 0.1, 0.5, 0.9, -1])
def test_a_cut_file_is_noticed(finished, tmp_path, length):
    content = (finished / "checkpoints" / "last.ckpt").read_bytes()
    kept = length if isinstance(length, int) else int(length * len(content))
    (tmp_path / "cut.ckpt").write_bytes(content[:kept])
    assert not is_whole(tmp_path / "cut.ckpt")
    assert not is_whole(tmp_path / "absent.ckpt")
