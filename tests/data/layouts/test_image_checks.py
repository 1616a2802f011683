import io
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from visionlab.data.images import read_image
from visionlab.data.layouts.findings import Findings
from visionlab.data.layouts.images import NEAR, SHOWN, Fingerprints, check_images, check_leaks, perceptual_hash


def natural(seed, height=60, width=80):
    """A picture whose detail falls with frequency, as a photograph's does."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width) * width)
    shape = (3, *frequency.shape)
    spectrum = (rng.normal(size=shape) + 1j * rng.normal(size=shape)) / np.maximum(frequency, 1) ** 1.2
    waves = np.fft.irfft2(spectrum, (height, width))
    return np.clip(128 + 50 * waves / waves.std(), 0, 255).astype(np.uint8).transpose(1, 2, 0)


def jpeg(pixels, quality=90):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Thirty photographs."""
    for number in range(30):
        (tmp_path / f"{number:02}.jpg").write_bytes(jpeg(natural(number, 60 + number)))
    return tmp_path


def test_sound_images_are_counted_and_measured(folder, capsys):
    findings = Findings()
    paths = sorted(folder.glob("*"))
    prints = check_images("train", paths, findings, np.array([(60 + n, 80) for n in range(29)] + [(-1, -1)]))
    assert findings.errors == findings.notes == []
    assert findings.images == {"train": 30}
    np.testing.assert_array_equal(findings.sizes["train"], [(60 + n, 80) for n in range(30)])
    np.testing.assert_array_equal(prints.rows, np.arange(30))
    hashes = [perceptual_hash(read_image(path, 3)) for path in paths]
    np.testing.assert_array_equal(prints.hashes, np.array(hashes, np.uint64))
    assert len(np.unique(prints.digests)) == 30
    assert capsys.readouterr().out == ""


def damage(folder):
    """One of each kind; says the kind by the file."""
    whole = (folder / "00.jpg").read_bytes()
    (folder / "00.jpg").write_bytes(whole[:-500])
    (folder / "01.jpg").write_bytes(b"")
    (folder / "02.jpg").write_bytes(b"<html>404</html>")
    (folder / "03.jpg").unlink()
    (folder / "04.jpg").unlink()
    (folder / "04.jpg").mkdir()
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    (folder / "05.jpg").write_bytes(bomb.getvalue())
    kinds = ("truncated", "empty", "unreadable", "missing", "unreadable", "unreadable")
    return {f"{number:02}.jpg": f"{kind}-image" for number, kind in enumerate(kinds)}


def test_each_damaged_image_is_named_once(folder):
    paths = sorted(folder.glob("*"))
    expected = damage(folder)
    findings = Findings()
    prints = check_images("train", paths, findings)
    assert {error.file.name: error.kind for error in findings.errors} == expected
    assert len(findings.errors) == len(expected)
    for error in findings.errors:
        assert str(error.file) in error.message
        assert "\n" not in error.message
    assert findings.images == {"train": 30}
    np.testing.assert_array_equal(findings.sizes["train"], [(60 + n, 80) for n in range(6, 30)])
    np.testing.assert_array_equal(prints.rows, np.arange(6, 30))


def test_a_size_other_than_annotated_is_wrong(folder):
    findings = Findings()
    sizes = np.array([(60 + n, 80) for n in range(30)])
    sizes[7] = (80, 67)
    check_images("train", sorted(folder.glob("*")), findings, sizes)
    (error,) = findings.errors
    assert (error.kind, error.file.name) == ("wrong-size", "07.jpg")
    assert error.message == f"{error.file} has 80 x 67 pixels; its annotations say 67 x 80"


def test_a_disguise_is_noted(folder):
    Image.fromarray(natural(0)).save(folder / "08.jpg", "PNG")
    Image.fromarray(natural(1)).save(folder / "09.jpg", "PNG")
    (folder / "10.JPEG").write_bytes(jpeg(natural(2)))
    findings = Findings()
    check_images("train", sorted(folder.glob("*")), findings)
    assert findings.errors == []
    assert findings.notes == [f"train: 2 files named *.jpg are PNG, {folder / '08.jpg'} the first of them"]


def test_no_images_are_none():
    findings = Findings()
    check_leaks({split: check_images(split, [], findings) for split in ("train", "val")}, findings)
    assert findings == Findings(images={"train": 0, "val": 0}, sizes=findings.sizes)
    assert findings.sizes["val"].shape == (0, 2)


def test_a_leak_is_found(folder):
    """The same bytes are an error; the same picture in another size or quality is noted; blank pages are nothing."""
    blank = jpeg(np.full((50, 50, 3), 255, np.uint8))
    (folder / "blank.jpg").write_bytes(blank)
    train = sorted(folder.glob("*"))
    val = folder / "val"
    val.mkdir()
    for number in range(100, 120):
        (val / f"{number}.jpg").write_bytes(jpeg(natural(number)))
    (val / "bytes.jpg").write_bytes((folder / "03.jpg").read_bytes())
    (val / "small.jpg").write_bytes(jpeg(cv2.resize(natural(5, 65), (60, 48), interpolation=cv2.INTER_AREA)))
    (val / "worse.png").write_bytes(jpeg(natural(6, 66), quality=30))
    (val / "blank.jpg").write_bytes(jpeg(np.full((60, 60, 3), 250, np.uint8)))
    findings = Findings()
    prints = {
        "train": check_images("train", train, findings),
        "val": check_images("val", sorted(val.glob("*")), findings),
    }
    findings.notes.clear()
    check_leaks(prints, findings)
    (error,) = findings.errors
    assert (error.kind, error.file) == ("leaked-image", val / "bytes.jpg")
    assert error.message == f"{val / 'bytes.jpg'} of val is the same file as {folder / '03.jpg'} of train"
    assert findings.notes == [
        f"{val / 'small.jpg'} of val looks like {folder / '05.jpg'} of train",
        f"{val / 'worse.png'} of val looks like {folder / '06.jpg'} of train",
    ]


def fingerprints(folder, hashes):
    numbers = np.arange(len(hashes), dtype=np.int64)
    digests = np.array([zlib.crc32(f"{folder} {n}".encode()) for n in numbers], np.uint64)
    return Fingerprints([folder / str(n) for n in numbers], numbers, digests, np.array(hashes, np.uint64))


def test_all_near_hashes_are_found_and_no_others(tmp_path):
    """Against the comparison of all pairs."""
    rng = np.random.default_rng(0)
    train = rng.integers(1, 2**64, 500, dtype=np.uint64)
    val = train[rng.permutation(500)[:60]].copy()
    for flips, row in enumerate(range(60)):
        for bit in rng.permutation(64)[: flips % 9]:
            val[row] ^= np.uint64(1) << np.uint64(bit)
    distances = np.bitwise_count(train[:, None] ^ val)
    expected = {row for row in range(60) if distances[:, row].min() <= NEAR}
    assert 30 < len(expected) < 40
    findings = Findings()
    check_leaks({"train": fingerprints(tmp_path / "a", train), "val": fingerprints(tmp_path / "b", val)}, findings)
    assert findings.errors == []
    assert len(findings.notes) == SHOWN + 1
    assert findings.notes[-1] == f"… and {len(expected) - SHOWN} more pictures of val look like some of train"
    for note, row in zip(findings.notes[:SHOWN], sorted(expected)[:SHOWN], strict=True):
        path, of, copy = note.split()[0], note.split()[2], note.split()[5]
        assert (path, of) == (str(tmp_path / "b" / str(row)), "val")
        assert distances[int(copy.split("/")[-1]), row] <= NEAR


def test_a_million_equal_hashes_take_no_time(tmp_path):
    """All frames of a video that stands still: not compared pair by pair."""

    class Frames(list):
        def __len__(self):
            return 1_000_000

        def __getitem__(self, row):
            return tmp_path / f"{row}.png"

    rows = np.arange(1_000_000)
    equal = np.full(1_000_000, 12345, np.uint64)
    train = Fingerprints(Frames(), rows, rows.astype(np.uint64), equal)
    val = Fingerprints(Frames(), rows, rows.astype(np.uint64) + np.uint64(10**9), equal)
    findings = Findings()
    check_leaks({"train": train, "val": val}, findings)
    assert findings.notes == [f"{tmp_path / '0.png'} of val looks like {tmp_path / '0.png'} of train"]


def test_the_hash_survives_compression_and_scaling():
    for seed in range(20):
        picture = natural(seed, 120, 160)
        as_it_is = perceptual_hash(picture)
        worse = cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR)
        small = cv2.resize(picture, (80, 60), interpolation=cv2.INTER_LINEAR)
        for other in (worse, small):
            assert (as_it_is ^ perceptual_hash(other)).bit_count() <= NEAR
        assert (as_it_is ^ perceptual_hash(natural(seed + 100))).bit_count() > 2 * NEAR


def test_the_real_photographs_have_no_false_leaks(shared_data):
    """Halves of one folder, none of whose pictures is in it twice."""
    paths = sorted((shared_data / "imagenet" / "one_per_class").rglob("*.JPEG"))
    paths += sorted((shared_data / "coco" / "val2017").glob("*.jpg"))[:30]
    findings = Findings()
    prints = {name: check_images(name, paths[start::2], findings) for name, start in (("train", 0), ("val", 1))}
    check_leaks(prints, findings)
    assert findings.errors == findings.notes == []
    assert sum(findings.images.values()) == 120


def test_checking_and_preparing_load_no_torch():
    code = (
        "import sys, visionlab.data.layouts.images, visionlab.data.prepared;"
        "heavy = {'torch', 'lightning', 'albumentations'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
