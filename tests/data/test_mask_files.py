import numpy as np
import pytest
import torch
from PIL import Image

from visionlab.data.coco import COCOSegmentation
from visionlab.data.mask_files import read_masks, voc_folder, write_masks
from visionlab.data.voc import VOCSegmentation
from visionlab.metrics.segmentation import Confusion


def scored(pairs, num_classes):
    metric = Confusion(num_classes)
    for i, (found, truth) in enumerate(pairs):
        metric.update([found], {"masks": [truth], "ids": torch.tensor([i])})
    return metric.compute()


def test_what_is_read_back_has_the_same_score_as_what_was_written(twins, tmp_path):
    data = VOCSegmentation(str(twins("voc")), 1)
    split = data.dataset("val")
    rng = np.random.default_rng(0)
    found, truths = {}, {}
    for i in range(len(split)):
        mask = split.sample(i)["mask"]
        noisy = np.where(rng.random(mask.shape) < 0.2, rng.integers(0, 21, mask.shape), mask.clip(0, 20))
        found[split.name(i)] = {"mask": torch.from_numpy(noisy.astype(np.uint8))}
        truths[split.name(i)] = torch.from_numpy(mask)
    assert data.masks_folder == "results/VOC2012/Segmentation/comp6_test_cls"
    folder = tmp_path / voc_folder(2012, "val", 5)
    assert folder == tmp_path / "results" / "VOC2012" / "Segmentation" / "comp5_val_cls"
    write_masks(folder, found.items(), data.label_map)
    names = sorted(found)
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}.png" for name in names]
    back = dict(read_masks(folder, names, data.label_map))
    before = scored([(found[name], truths[name]) for name in names], 21)
    after = scored([(back[name], truths[name]) for name in names], 21)
    assert 0 < before["mIoU"] < 1
    assert torch.equal(before["confusion"], after["confusion"])
    with Image.open(folder / f"{names[0]}.png") as image:
        assert image.mode == "P"
        colours = np.reshape(image.getpalette(), (-1, 3))
    # the development kit's colours of background, aeroplane, dog and void
    assert colours[[0, 1, 12, 255]].tolist() == [[0, 0, 0], [128, 0, 0], [64, 0, 128], [224, 224, 192]]


def test_pixels_are_the_data_sets_own_ids(tmp_path):
    label_map = COCOSegmentation("nowhere", 1).label_map
    mask = torch.arange(81, dtype=torch.uint8).reshape(9, 9)
    write_masks(tmp_path, [("a/b", {"mask": mask})], label_map)
    raw = np.asarray(Image.open(tmp_path / "a/b.png"))
    assert raw.flatten().tolist() == [entry["id"] for entry in label_map]
    assert raw.max() == 90
    ((name, back),) = read_masks(tmp_path, ["a/b"], label_map)
    assert name == "a/b"
    assert torch.equal(back["mask"], mask)


def test_what_cannot_be_written_or_read_is_said(tmp_path):
    label_map = [{"id": 0, "index": 0, "name": "a"}, {"id": 7, "index": 1, "name": "b"}]
    mask = {"mask": torch.zeros(2, 3, dtype=torch.uint8)}
    with pytest.raises(ValueError, match=r"a mask of '\.\./x' would lie outside"):
        write_masks(tmp_path, [("../x", mask)], label_map)
    with pytest.raises(ValueError, match=r"ids of classes must lie in 0\.\.255 to be pixels, not 0\.\.300"):
        write_masks(tmp_path, [("x", mask)], [*label_map, {"id": 300, "index": 2, "name": "c"}])
    with pytest.raises(ValueError, match="competitions of segmentation are 5 and 6, not 3"):
        voc_folder(2012, "test", 3)
    with pytest.raises(FileNotFoundError, match=r"x\.png"):
        list(read_masks(tmp_path, ["x"], label_map))
    Image.fromarray(np.full((2, 3), 5, np.uint8)).save(tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"x\.png has a pixel of 5, which is no class's id"):
        list(read_masks(tmp_path, ["x"], label_map))
