import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionlab.data.twins.camvid import make


def digest(root: Path) -> str:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    content = b"".join(str(path.relative_to(root)).encode() + path.read_bytes() for path in files)
    return hashlib.sha256(content).hexdigest()


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make(tmp_path / name, 4, seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert digest(tmp_path / "a") != digest(tmp_path / "c")


def test_has_the_files_of_the_tutorial(tmp_path):
    make(tmp_path, 20, 0)
    folder = tmp_path / "CamVid"
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{split}{end}" for split in ("train", "val", "test") for end in ("", "annot", ".txt")
    )
    for split, count in (("train", 20), ("val", 5), ("test", 5)):
        lines = (folder / f"{split}.txt").read_text().splitlines()
        names = sorted(path.name for path in (folder / split).iterdir())
        assert lines == [f"/SegNet/CamVid/{split}/{name} /SegNet/CamVid/{split}annot/{name}" for name in names]
        assert len(names) == count
    shown = set()
    for name in names:
        image, mask = Image.open(folder / "test" / name), Image.open(folder / "testannot" / name)
        assert (image.mode, mask.mode, image.size, mask.size) == ("RGB", "L", (120, 90), (120, 90))
        shown |= set(np.unique(np.asarray(mask)).tolist())
    assert shown == set(range(12))


def test_replaces_nothing_and_wants_four_images(tmp_path):
    with pytest.raises(ValueError, match="3 training images are too few: give at least 4"):
        make(tmp_path, 3, 0)
    make(tmp_path, 4, 0)
    before = digest(tmp_path)
    with pytest.raises(FileExistsError, match=r"train\.txt is there already"):
        make(tmp_path, 4, 1)
    assert digest(tmp_path) == before
