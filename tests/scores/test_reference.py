import os
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import in_processes
from stand_ins import FewDigits
from visionlab.data.memory import MemoryDataset
from visionlab.metrics.generated_images import Extractor, Features
from visionlab.metrics.generation import nearest
from visionlab.scores import reference
from visionlab.scores.reference import open_memory, open_reference, real_images

CPU = torch.device("cpu")


class Sums(Extractor):
    """The sums of rows and columns, and how often they were asked for."""

    name = "sums"

    def __init__(self):
        super().__init__()
        self.asked = 0

    def open(self):
        pass

    def forward(self, images):
        self.asked += 1
        return Features(torch.cat([images.sum(2), images.sum(3)], 2).flatten(1), images.flatten(1)[:, :10])


def folders():
    return sorted(path.name for path in Path(os.environ["VISIONLAB_CACHE"]).iterdir())


def test_features_are_those_of_the_images_without_augmentation():
    data = FewDigits()
    key, found = open_reference(data, "train", Sums(), CPU)
    plain = data.dataset("train", augmented=False).images
    assert np.array_equal(real_images(data, "train").permute(0, 2, 3, 1).numpy(), plain)
    pixels = plain[..., 0].astype(np.float32) / 255
    np.testing.assert_allclose(found.features, np.concatenate([pixels.sum(1), pixels.sum(2)], 1), rtol=1e-5)
    np.testing.assert_allclose(found.mean, found.features.mean(0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(found.features.astype(np.float64), rowvar=False), rtol=1e-9)
    assert folders() == [f"reference-{key}"]


def test_they_are_found_once_for_each_data_set_split_and_extractor(monkeypatch):
    extractor = Sums()
    key, found = open_reference(FewDigits(), "train", extractor, CPU)
    asked = extractor.asked
    assert asked == 10  # 290 images, in blocks of 32
    again, same = open_reference(FewDigits(batch_size=7), "train", extractor, CPU)
    assert (extractor.asked, again) == (asked, key)
    assert np.array_equal(same.features, found.features)
    keys = {key, open_reference(FewDigits(), "val", extractor, CPU)[0]}
    monkeypatch.setattr(Sums, "name", "others")
    keys.add(open_reference(FewDigits(), "train", extractor, CPU)[0])

    class Changed(FewDigits):
        def arrays(self, split):
            images, labels = super().arrays(split)
            images[:6, 3, 3, 0] ^= 1
            return images, labels

    keys.add(open_reference(Changed(), "train", extractor, CPU)[0])
    assert len(keys) == 4 == len(folders())


def test_of_a_large_split_pixels_here_and_there_and_all_names_are_hashed(monkeypatch):
    monkeypatch.setattr(reference, "HASHED", 10)
    key = open_reference(FewDigits(), "train", Sums(), CPU)[0]
    monkeypatch.setattr(MemoryDataset, "name", lambda self, index: f"{index}.png")
    assert open_reference(FewDigits(), "train", Sums(), CPU)[0] != key


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_work_and_find_the_same_bits(world, tmp_path, monkeypatch):
    def one_process():
        torch.distributed.init_process_group("gloo")
        extractor = Sums()
        references = [open_reference(FewDigits(), split, extractor, CPU) for split in ("train", "val")]
        memory = open_memory(*references)
        rank = torch.distributed.get_rank()
        np.savez(tmp_path / f"{rank}.npz", *references[0][1], memory.held_out, asked=extractor.asked)
        torch.distributed.destroy_process_group()
        return 0

    assert in_processes(one_process, world) == [0] * world
    shared = folders()
    assert len(shared) == 3
    monkeypatch.setenv("VISIONLAB_CACHE", str(tmp_path / "alone"))
    references = [open_reference(FewDigits(), split, Sums(), CPU) for split in ("train", "val")]
    expected = [*references[0][1], open_memory(*references).held_out]
    assert folders() == shared
    for rank in range(world):
        with np.load(tmp_path / f"{rank}.npz") as found:
            assert found["asked"] <= 10 // world + 2
            assert all(np.array_equal(found[f"arr_{i}"], array) for i, array in enumerate(expected))


def test_how_near_held_out_images_are():
    train, held_out = (open_reference(FewDigits(), split, Sums(), CPU) for split in ("train", "val"))
    memory = open_memory(train, held_out)
    np.testing.assert_array_equal(memory.held_out, nearest(held_out[1].features, train[1].features)[1])
    assert memory.held_out.min() > 0


def test_what_fails_leaves_nothing():
    class Fails(Sums):
        def forward(self, images):
            raise MemoryError

    with pytest.raises(MemoryError):
        open_reference(FewDigits(), "train", Fails(), CPU)
    assert not Path(os.environ["VISIONLAB_CACHE"]).exists()


def test_a_cache_that_cannot_be_written_is_an_error(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VISIONLAB_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match="set VISIONLAB_CACHE to a folder"):
        open_reference(FewDigits(), "train", Sums(), CPU)


def test_images_of_several_sizes_are_an_error():
    class Ragged(MemoryDataset):
        def __getitems__(self, keys):
            batch = super().__getitems__(keys)
            return {**batch, "images": list(batch["images"])}

    class RaggedDigits(FewDigits):
        def dataset(self, split, augmented=True):
            whole = super().dataset(split, augmented)
            return Ragged(whole.images, whole.labels, whole.numbers, None, 0)

    with pytest.raises(ValueError, match="of one size"):
        open_reference(RaggedDigits(), "train", Sums(), CPU)
