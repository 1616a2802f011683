"""Files of detections: read back they are what was written. Of those of a run, see ``cli/test_prediction_files.py``."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_detectors import noisy
from visionlab.data import predictions as files
from visionlab.metrics.by_objects import found_rows, joined
from visionlab.metrics.openimages import with_size

LABEL_MAP = [{"id": 7, "index": 0, "name": "cat"}, {"id": 12, "index": 1, "name": "sofa"}]
HEIGHT, WIDTH = 427, 640


def table(found, sizes=None):
    """What was found in images, by name, as metrics keep it; and the names."""
    parts = {"xywh", *({"masks", "keypoints"} & next(iter(found.values())).keys())}
    rows = [with_size(found_rows(one, *parts), *(sizes[name] if sizes else (0, 0))) for name, one in found.items()]
    return joined(rows), list(found)


def test_cocos_masks_and_keypoints_are_read_back_as_they_were(tmp_path):
    generator = np.random.default_rng(0)
    true = {
        "boxes": torch.tensor([[1.0, 2, 30, 40], [5, 5, 9, 9]]),
        "labels": torch.tensor([1, 0]),
        "masks": torch.from_numpy(generator.integers(0, 2, (2, 50, 60), np.uint8)),
        "keypoints": torch.from_numpy(generator.uniform(0, 50, (2, 17, 3))).float(),
    }
    found = noisy(true, generator, 2)
    nothing = noisy({name: values[:0] for name, values in true.items()}, generator, 2)
    rows, names = table({"7": found, "a name": found, "9": nothing})
    files.write_coco(tmp_path, [rows], names, LABEL_MAP)
    for kind, parts in {"bbox": {"boxes"}, "segm": {"masks"}, "keypoints": {"keypoints"}}.items():
        back = files.read_coco(tmp_path / f"{kind}.json", LABEL_MAP)
        assert list(back) == ["7", "a name"]
        for one in back.values():
            for name in {"scores", "labels", *parts}:
                assert torch.equal(one[name], found[name]), (kind, name)
    assert {row["image_id"] for row in json.loads((tmp_path / "segm.json").read_text())} == {7, "a name"}


def test_nothing_found_at_all_makes_files_too(tmp_path):
    rows, names = table({"7": files.nothing_found()}, {"7": (HEIGHT, WIDTH)})
    files.write_coco(tmp_path, [rows], names, LABEL_MAP)
    files.write_openimages(tmp_path, [rows], names, LABEL_MAP)
    files.write_voc(tmp_path, rows, names, LABEL_MAP, "val")
    assert len(files.read_coco(tmp_path / "bbox.json", LABEL_MAP)) == 0
    assert len(files.read_openimages(tmp_path / "boxes.csv", LABEL_MAP, {})) == 0
    assert len(files.read_voc(tmp_path, LABEL_MAP, "val")) == 0


# all float32 boxes of images, not only round ones
NUMBERS = st.floats(0, 5000, width=32)
ROWS = st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.floats(0, 1, width=32), st.integers(0, 1)), max_size=6)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(ROWS)
def test_numbers_are_kept_to_the_last_bit(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("files")
    rows = sorted(rows, key=lambda row: -row[4])
    sides = torch.tensor([row[:4] for row in rows], dtype=torch.float32).reshape(-1, 2, 2).sort(dim=1).values
    found = {
        "boxes": sides.reshape(-1, 4),
        "scores": torch.tensor([row[4] for row in rows], dtype=torch.float32),
        "labels": torch.tensor([row[5] for row in rows], dtype=torch.int64),
    }
    sizes = {"42": (HEIGHT, WIDTH)}
    objects, names = table({"42": found}, sizes)
    files.write_coco(folder, [objects], names, LABEL_MAP)
    files.write_openimages(folder, [objects], names, LABEL_MAP)
    files.write_voc(folder, objects, names, LABEL_MAP, "val", competition=3)
    backs = [
        files.read_coco(folder / "bbox.json", LABEL_MAP),
        files.read_openimages(folder / "boxes.csv", LABEL_MAP, sizes),
        files.read_voc(folder, LABEL_MAP, "val", competition=3),
    ]
    for back in backs[:2]:
        one = back.get("42", files.nothing_found())
        for name, value in found.items():
            assert torch.equal(one[name], value), name
    for label in (0, 1):  # a file a class, so order between classes is lost where scores are equal
        one = backs[2].get("42", files.nothing_found())
        for name, value in found.items():
            mine, whole = one[name][one["labels"] == label], value[found["labels"] == label]
            torch.testing.assert_close(mine, whole, rtol=0, atol=2**-29, msg=name)


def test_masks_in_open_images_tables(tmp_path):
    masks = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.uint8)
    masks[0, 3:9, 5:50] = 1
    found = {
        "boxes": torch.zeros(2, 4),
        "scores": torch.tensor([0.5, 0.25]),
        "labels": torch.tensor([1, 0]),
        "masks": masks,
    }
    sizes = {"a1": (HEIGHT, WIDTH)}
    rows, names = table({"a1": found}, sizes)
    files.write_openimages(tmp_path, [rows], names, LABEL_MAP)
    back = files.read_openimages(tmp_path / "masks.csv", LABEL_MAP, sizes)["a1"]
    for name in ("masks", "scores", "labels"):
        assert torch.equal(back[name], found[name])
    assert back["boxes"].tolist() == [[5, 3, 50, 9], [0, 0, 0, 0]]


def test_what_is_no_such_file_is_refused(tmp_path):
    path = tmp_path / "a"
    path.write_text("{}")
    with pytest.raises(ValueError, match="is not a list of results"):
        files.read_coco(path, LABEL_MAP)
    path.write_text(json.dumps([{"image_id": 1, "category_id": 8, "score": 1, "bbox": [0, 0, 1, 1]}]))
    with pytest.raises(ValueError, match="there is no category 8"):
        files.read_coco(path, LABEL_MAP)
    path.write_text("ImageID,Label\n")
    with pytest.raises(ValueError, match="expected the columns ImageID, LabelName"):
        files.read_openimages(path, LABEL_MAP, {})
    path.write_text("ImageID,LabelName,Score,XMin,XMax,YMin,YMax\na,/m/1,1,0,1,0,1\n")
    with pytest.raises(ValueError, match="line 2: there is no class '/m/1'"):
        files.read_openimages(path, LABEL_MAP, {})
    (tmp_path / "comp4_det_val_cat.txt").write_text("a 0.5 1 2 3\n")
    with pytest.raises(ValueError, match="line 1: expected image, score and four sides"):
        files.read_voc(tmp_path, LABEL_MAP, "val")
