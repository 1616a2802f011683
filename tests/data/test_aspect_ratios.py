"""Training batches of images of alike aspect ratios."""

import numpy as np
import pytest

from visionlab.data.coco import COCODetection, COCOKeypoints
from visionlab.data.images import image_size
from visionlab.data.openimages import OpenImagesDetection
from visionlab.data.sample import SizedRecords
from visionlab.data.voc import VOCClassification, VOCDetection, VOCInstances

SIZED = [("voc", VOCDetection), ("voc", VOCInstances), ("coco", COCODetection), ("coco", COCOKeypoints)]


@pytest.mark.parametrize(("family", "module"), SIZED)
@pytest.mark.parametrize("split", ["train", "val"])
def test_the_sizes_are_those_of_the_files(twins, family, module, split):
    records = module(str(twins(family)), 1).records(split)
    assert isinstance(records, SizedRecords)
    assert records.sizes().tolist() == [list(image_size(records.path(i))) for i in range(len(records))]


@pytest.mark.parametrize(("family", "module"), SIZED[::2])
def test_batches_are_of_alike_images(twins, family, module):
    def spread(grouped: bool) -> list[float]:
        data = module(str(twins(family)), 2, num_workers=0, group_by_aspect_ratio=grouped)
        data.setup("fit")
        ratios = [[image.shape[1] / image.shape[2] for image in batch["images"]] for batch in data.train_dataloader()]
        return sorted(max(each) / min(each) for each in ratios)

    mixed, grouped = spread(False), spread(True)
    assert len(mixed) == len(grouped)
    assert grouped[len(grouped) // 2] < 1.1 < mixed[len(mixed) // 2]


def test_a_group_is_an_eighth_of_an_octave(shared_data):
    data = COCODetection(str(shared_data / "coco"), 4, group_by_aspect_ratio=True).dataset("train")
    sizes = np.array([data.image(i).shape[:2] for i in range(len(data))])
    ratios = sizes[:, 0] / sizes[:, 1]
    for group in np.unique(data.groups).tolist():
        alike = ratios[data.groups == group]
        assert 2 ** ((group - 0.5) / 8) <= alike.min() <= alike.max() <= 2 ** ((group + 0.5) / 8)


def test_images_of_unknown_sizes_are_refused_when_training_begins(twins):
    for data in (
        OpenImagesDetection(str(twins("openimages")), 2, group_by_aspect_ratio=True),
        VOCClassification(str(twins("voc")), 2, group_by_aspect_ratio=True),
    ):
        data.dataset("val")
        with pytest.raises(ValueError, match=r"group_by_aspect_ratio: the sizes of the images in .* are not known"):
            data.dataset("train")
