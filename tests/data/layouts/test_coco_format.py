import json
import time
import tracemalloc

import numpy as np
import pytest
from pycocotools import mask as rle

from visionlab.data.layouts.coco import ObjectRecords
from visionlab.data.layouts.coco_format import open_coco
from visionlab.data.layouts.json_rows import MAX_BYTES

# of pycocotools' C code, with numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


HOSTILE = {
    "deep nesting": b'{"images": ' + b"[" * 1_000_000,
    "huge integer": b'{"images": [{"id": ' + b"9" * 1_000_000 + b"}]}",
    "no JSON": b"PK\x03\x04",
    "cut off": b'{"images": [{"id": 1',
    "no UTF-8": b'{"images": ["\xff\xfe"]}',
    "a list": b"[1, 2]",
    "nothing": b"",
    "no lists": b'{"images": {}, "annotations": [], "categories": []}',
    "many keys": b"{" + b",".join(b'"%d": 0' % i for i in range(200_000)) + b"}",
    "a name of five million letters": b'{"images": [{"id": 1, "height": 1, "width": 1, "file_name": 7, "x": "'
    + b"a" * 5_000_000
    + b'"}], "categories": [], "annotations": []}',
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_hostile_files_do_no_harm(tmp_path, attack):
    path = tmp_path / "x.json"
    path.write_bytes(HOSTILE[attack])
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(ValueError, match=r"x\.json") as caught:
        open_coco(path)
    assert time.process_time() - start < 5
    assert tracemalloc.get_traced_memory()[1] < 500_000_000
    tracemalloc.stop()
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


def test_a_file_of_several_gigabytes_must_be_there_byte_by_byte(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(b'{"images": "')
    with path.open("ab") as file:
        file.truncate(7_000_000_000)  # as large as those of Objects365
    assert path.stat().st_size < MAX_BYTES
    start = time.process_time()
    with pytest.raises(ValueError, match=r"x\.json is not JSON: it holds bytes of zero"):
        open_coco(path)
    assert time.process_time() - start < 1


def tiny(path, boxes_only=False, category=None, encoding="utf-8", **annotation):
    """A file with one object in an image of 40 x 30 pixels."""
    row = {"id": 1, "image_id": 5, "category_id": 3, "bbox": [1, 2, 10, 4], **annotation}
    document = {
        "images": [{"id": 5, "file_name": "sub/a.jpg", "height": 30, "width": 40}],
        "categories": [{"id": 3, "name": "thing", **(category or {})}],
        "annotations": [row],
    }
    path.write_text(json.dumps(document), encoding=encoding)
    return open_coco(path, boxes_only)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_any_encoding_of_json_is_read(tmp_path, encoding):
    assert tiny(tmp_path / "x.json", encoding=encoding)["boxes"].tolist() == [[1, 2, 10, 4]]


@pytest.mark.parametrize(("flag", "crowd"), [(0.0, False), (1.0, True), (True, True), (None, False)])
def test_flags_may_be_written_as_floats(tmp_path, flag, crowd):
    assert tiny(tmp_path / "x.json", iscrowd=flag)["crowd"].tolist() == [crowd]


def test_a_polygon_without_points_is_none(tmp_path):
    triangle = [10, 10, 20, 10, 20, 20]
    assert tiny(tmp_path / "x.json", segmentation=[[]])["unsegmented"].tolist() == [0]
    index = tiny(tmp_path / "y.json", segmentation=[[], triangle])
    masks = ObjectRecords(index, tmp_path, np.array([0]), parts=("masks",)).annotations(0)["objects"]["masks"]
    np.testing.assert_array_equal(masks, rle.decode(rle.merge(rle.frPyObjects([triangle], 30, 40)))[None])


@pytest.mark.parametrize(
    ("annotation", "category"),
    [
        ({"segmentation": [[1, 2, 3]]}, {}),
        ({"segmentation": {"size": [10, 10], "counts": "abc"}}, {}),
        ({"segmentation": "PPYo0"}, {}),
        ({}, {"keypoints": ["a", "b"]}),
        ({"keypoints": [0]}, {"keypoints": ["a", "b"]}),
        ({}, {"keypoints": "a"}),
    ],
)
def test_for_boxes_alone_nothing_else_need_be_right(tmp_path, annotation, category):
    with pytest.raises(ValueError, match=r"x\.json"):
        tiny(tmp_path / "x.json", category=category, **annotation)
    index = tiny(tmp_path / "x.json", True, category, **annotation)
    assert index["boxes"].tolist() == [[1, 2, 10, 4]]
    assert index["keypoints"].shape == (1, 0, 3)
    assert index["unsegmented"].tolist() == [0]
    with pytest.raises(ValueError, match="bbox is"):
        tiny(tmp_path / "x.json", True, bbox=[1, 2, 3])


def test_area_and_iscrowd_are_optional(tmp_path):
    index = tiny(tmp_path / "x.json")
    assert (index["area"].tolist(), index["crowd"].tolist()) == ([40.0], [False])
    assert index["unsegmented"].tolist() == [0]
    with pytest.raises(ValueError, match=r"annotation 1 of the images in .* has no segmentation"):
        ObjectRecords(index, tmp_path, np.array([0]), parts=("masks",))


@pytest.mark.parametrize("compressed", [False, True])
def test_run_lengths_may_be_compressed(tmp_path, compressed):
    truth = np.zeros((30, 40), np.uint8, order="F")
    truth[3:17, 8:33] = 1
    truth[20:22, 1:3] = 1
    encoded = rle.encode(truth)
    runs = np.diff([0, *np.flatnonzero(np.diff(truth.ravel(order="F"))) + 1, truth.size]).tolist()
    counts = encoded["counts"].decode() if compressed else runs
    index = tiny(tmp_path / "x.json", segmentation={"size": [30, 40], "counts": counts})
    masks = ObjectRecords(index, tmp_path, np.array([0]), parts=("masks",)).annotations(0)["objects"]["masks"]
    np.testing.assert_array_equal(masks, truth[None])


def test_polygons_without_area_are_passed_over(tmp_path):
    index = tiny(tmp_path / "x.json", segmentation=[[1, 1, 5, 5], [10, 10, 20, 10, 20, 20]])
    alone = tiny(tmp_path / "y.json", segmentation=[[1, 1, 5, 5]])
    records = [ObjectRecords(one, tmp_path, np.array([0]), parts=("masks",)) for one in (index, alone)]
    masks = [one.annotations(0)["objects"]["masks"] for one in records]
    expected = rle.decode(rle.merge(rle.frPyObjects([[10, 10, 20, 10, 20, 20]], 30, 40)))
    np.testing.assert_array_equal(masks[0], expected[None])
    assert not masks[1].any()


def test_masks_that_do_not_fit_in_memory_are_refused(tmp_path):
    document = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 8000, "width": 8000}],
        "categories": [{"id": 3, "name": "thing"}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": 3, "bbox": [1, 1, 3, 3], "segmentation": [[1, 1, 3, 1, 3, 3]]}
            for i in range(10)
        ],
    }
    (tmp_path / "x.json").write_text(json.dumps(document))
    records = ObjectRecords(open_coco(tmp_path / "x.json"), tmp_path, np.array([0]), parts=("masks",))
    with pytest.raises(ValueError, match=r"a\.jpg: the masks of 10 objects of 8000 x 8000 pixels do not fit"):
        records.annotations(0)


def test_of_a_key_given_twice_the_last_counts(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(
        '{"images": [], "images": [{"id": 1, "id": 2, "file_name": "a", "height": 1, "width": 1}], "annotations": [], '
        '"categories": []}'
    )
    assert open_coco(path)["image_ids"].tolist() == [2]


@pytest.mark.parametrize("mixed", [False, True])
def test_keypoints_are_read_where_every_category_has_them(tmp_path, mixed):
    document = {
        "images": [{"id": 5, "file_name": "a.jpg", "height": 30, "width": 40}],
        "categories": [{"id": 3, "name": "bird", "keypoints": ["beak", "tail"]}, *[{"id": 4, "name": "nest"}] * mixed],
        "annotations": [
            {"id": 1, "image_id": 5, "category_id": 3, "bbox": [1, 2, 10, 4], "keypoints": [1, 2.5, 2, 0, 0, 0]}
        ],
    }
    path = tmp_path / "x.json"
    path.write_text(json.dumps(document))
    index = open_coco(path)
    assert index.texts("keypoint_names") == ([] if mixed else ["beak", "tail"])
    assert index["keypoints"].tolist() == ([[]] if mixed else [[[1, 2.5, 2], [0, 0, 0]]])
    if not mixed:
        del document["annotations"][0]["keypoints"]
        path.write_text(json.dumps(document))
        with pytest.raises(ValueError, match="annotation 1: keypoints is None, not 2 times x, y, and 0, 1 or 2"):
            open_coco(path)
