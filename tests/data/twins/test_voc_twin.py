import hashlib
import time
from pathlib import Path

import pytest

from visionlab.data.layouts.voc_check import check
from visionlab.data.twins.voc import make


def digest(root):
    total = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file():
            total.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return total.hexdigest()


def test_the_same_seed_gives_the_same_bytes():
    for name, seed in (("one", 3), ("same", 3), ("other", 4)):
        make(Path(name), 20, seed)
    assert digest(Path("one")) == digest(Path("same")) != digest(Path("other"))


def test_a_healthy_twin_passes_the_check():
    started = time.process_time()
    make(Path("voc"), 60, 0)
    assert time.process_time() - started < 15
    findings = check(Path("voc"))
    assert findings.errors == []
    expected = {"train": 60, "val": 15, "test": 15}
    assert {name: findings.images[f"2007/{name}"] for name in expected} == expected
    assert {name: findings.images[f"2012/{name}"] for name in expected} == expected
    assert findings.images["2012/segmentation/train"] > 40
    assert set(findings.labels["2007/train"].tolist()) == set(range(20))
    assert sum("no annotations of these images were published" in note for note in findings.notes) == 2


def test_it_is_as_odd_as_the_official_files():
    make(Path("voc"), 20, 0)
    older, later = (
        [path.read_text() for path in sorted(Path(f"voc/VOCdevkit/VOC{year}/Annotations").iterdir())]
        for year in (2007, 2012)
    )
    for texts in (older, later):
        everything = "".join(texts)
        assert any("<object>" not in text for text in texts)
        assert "<difficult>1" in everything
        assert "<truncated>1" in everything
        assert "<part>" in everything
        assert any("<object>" in text and "<pose>" not in text for text in texts)
    assert "<occluded>1" in "".join(later)
    assert "occluded" not in "".join(older)
    assert ".300000190734863" in "".join(later)
    lists = Path("voc/VOCdevkit/VOC2012/ImageSets")
    assert "2007_000032" in (lists / "Segmentation" / "train.txt").read_text()
    assert "2007_" not in (lists / "Main" / "trainval.txt").read_text()
    first = (lists / "Main" / "cat_train.txt").read_text().splitlines()[0]
    assert first[-3:] in (" -1", "  1", "  0")


def test_it_replaces_nothing():
    make(Path("voc"), 20, 0)
    before = digest(Path("voc"))
    with pytest.raises(FileExistsError, match="VOC2007 is there already"):
        make(Path("voc"), 20, 1)
    assert digest(Path("voc")) == before


def test_too_few_images_are_an_error():
    with pytest.raises(ValueError, match="give at least 20"):
        make(Path("voc"), 19, 0)
    assert not Path("voc").exists()
