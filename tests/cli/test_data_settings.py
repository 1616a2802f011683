import shutil
from pathlib import Path

import pytest

from visionlab.cli import main


@pytest.fixture
def coco2014(twins):
    """A twin of COCO under the names of 2014."""
    shutil.copytree(twins("coco", 4), "coco")
    for split in ("train", "val"):
        Path("coco", f"{split}2017").rename(f"coco/{split}2014")
        for kind in ("instances", "person_keypoints"):
            Path("coco", "annotations", f"{kind}_{split}2017.json").rename(f"coco/annotations/{kind}_{split}2014.json")
    return "coco"


def run(capsys, *words):
    status = main(["data", *map(str, words)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_shows_another_year_of_coco(capsys, coco2014):
    status, _, err = run(capsys, "show", "coco", "--root", coco2014)
    assert (status, "set year to 2014" in err, "download" in err) == (2, True, False)
    assert run(capsys, "show", "coco", "--root", coco2014, "--set", "year=2014") == (0, "coco_val.png\n", "")
    assert Path("coco_val.png").is_file()


def test_shows_a_single_year_of_voc(capsys, twins):
    shutil.copytree(twins("voc", 20) / "VOCdevkit" / "VOC2012", "VOC2012")
    words = ("show", "voc", "--root", "VOC2012", "--as", "detection", "--images", 2)
    status, _, err = run(capsys, *words)
    assert (status, "name its sets, such as 2012/val" in err) == (2, True)
    assert run(capsys, *words, "--set", "val_set=2012/val")[0] == 0
    assert run(capsys, *words, "--split", "train", "--set", "train_sets=[2012/train, 2012/val]")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--set", "yaer=2014"), "--set yaer: COCODetection has no such argument; did you mean year?"),
        (("--set", "year"), "--set year: expected KEY=VALUE"),
        (("--set", "year=2013"), "--set year: expected 2014 or 2017, not '2013'"),
        (("--set", "num_workers=few"), "--set num_workers: expected int, not 'few'"),
        (("--set", "num_workers=[1"), "--set num_workers: '[1' is no YAML"),
        (("--as", "images", "--set", "coco91=true"), "--set coco91: COCOImages has no such argument; there are root, "),
    ],
)
def test_mistakes_are_one_line(capsys, words, message):
    status, out, err = run(capsys, "show", "coco", *words)
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_the_doctor_is_told_the_names_of_files(capsys, twins):
    shutil.copytree(twins("coco_format", 4), "mine")
    Path("mine", "annotations", "val.json").rename("mine/valid.json")
    assert run(capsys, "check", "coco_format", "--root", "mine")[0] == 2
    words = ("check", "coco_format", "--root", "mine", "--set")
    status, out, _ = run(capsys, *words, "val_annotations=valid.json")
    assert (status, out.splitlines()[-1]) == (0, "ok")
    status, _, err = run(capsys, *words, "val_annotation=valid.json")
    assert (status, "the check of coco_format has no such argument; did you mean val_annotations?" in err) == (2, True)
    status, _, err = run(capsys, "check", "voc", "--set", "year=2012")
    assert (status, "the check of voc has no such argument: it has none" in err) == (2, True)


def test_prepares_only_what_prepared_images_serve(capsys, coco2014):
    words = ("prepare", "coco", "--root", coco2014, "--output", "small", "--short_side", 32, "--set", "year=2014")
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "")
    assert "COCODetection has boxes or masks" in err
    assert "give --as COCOImages" in err
    assert not Path("small").exists()
    assert run(capsys, *words, "--as", "COCOImages")[0] == 0
    assert {path.name for path in Path("small").iterdir()} == {"train", "val", "test"}


def test_where_nothing_can_be_prepared_that_is_said(capsys, twins):
    status, _, err = run(capsys, "prepare", "camvid", "--root", twins("camvid"), "--output", "small")
    assert (status, "nothing of camvid can be prepared" in err) == (2, True)


def test_a_recipe_that_gives_prepared_images_to_boxes_fails_before_its_first_step(capsys, twins):
    root = twins("coco", 4)
    assert run(capsys, "prepare", "coco", "--root", root, "--output", "small", "--as", "images")[0] == 0
    recipe = Path(__file__).parents[2] / "experiments" / "detection" / "coco_faster_rcnn.yaml"
    words = {
        "data.init_args.root": root,
        "data.init_args.prepared": "small",
        "data.init_args.on_bad_sample": "skip",
        "model.init_args.net.init_args.weights_backbone": "null",
        "trainer.accelerator": "cpu",
        "trainer.logger": "false",
    }
    assert main(["fit", "--config", str(recipe), *(f"--{key}={value}" for key, value in words.items())]) == 2
    err = capsys.readouterr().err
    assert "prepared images, as in small, are smaller than their files: boxes and masks do not fit" in err
