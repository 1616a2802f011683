import contextlib
import dataclasses
import hashlib
import io

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from visionlab.data.twins.scenes import CLASSES, draw_object, draw_person_scene, draw_scene, motif

HEIGHT, WIDTH = 120, 160
LEFT_LIMBS = ((5, 7), (7, 9), (11, 13), (13, 15))  # COCO's numbers of the joints at both ends; the right's are next


@pytest.fixture(scope="module")
def scenes():
    """Of one to four objects of ten classes."""
    rng = np.random.default_rng(0)
    return [draw_scene(rng, HEIGHT, WIDTH, rng.integers(0, 10, rng.integers(1, 5)).tolist()) for _ in range(140)]


@pytest.fixture(scope="module")
def objects():
    rng = np.random.default_rng(1)
    labels = rng.permutation(np.arange(300) % 10)
    return [draw_object(rng, 64, 80, label) for label in labels.tolist()]


def drawn(seed):
    rng = np.random.default_rng(seed)
    scene = draw_scene(rng, 48, 64, [3, 17, 99])
    people = draw_person_scene(rng, 64, 48, 1, [5])
    arrays = (
        scene.image,
        scene.masks,
        scene.boxes,
        people.image,
        people.labels,
        people.masks,
        people.keypoints.round(6),
    )
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def test_is_a_function_of_the_seed():
    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)
    assert drawn(0).startswith("de5703b7ba58e527")


def check(scene, labels, height, width):
    """That masks are disjoint and boxes fit them."""
    assert scene.image.shape == (height, width, 3)
    assert scene.image.dtype == np.uint8
    assert scene.labels.dtype == np.int64
    assert scene.labels.tolist() == list(labels)
    assert scene.masks.shape == (len(labels), height, width)
    assert scene.masks.dtype == bool
    assert scene.masks.sum(0).max(initial=0) <= 1
    assert scene.boxes.shape == (len(labels), 4)
    assert scene.boxes.dtype == np.float64
    for mask, box in zip(scene.masks, scene.boxes, strict=True):
        x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
        assert box.tolist() == [x, y, x + w, y + h]
        assert w > 0


@pytest.mark.parametrize("labels", [[], [7], [1, 1, 1], list(range(20))], ids=len)
@pytest.mark.parametrize(("height", "width"), [(90, 70), (40, 121)])
def test_boxes_fit_masks_and_no_object_is_hidden(labels, height, width):
    check(draw_scene(np.random.default_rng(2), height, width, labels), labels, height, width)


def test_later_objects_leave_much_of_the_earlier_ones():
    """The first object is drawn alike with and without the others, so that what they cover is seen."""
    shares = []
    for seed in range(40):
        alone = draw_scene(np.random.default_rng(seed), HEIGHT, WIDTH, [2])
        covered = draw_scene(np.random.default_rng(seed), HEIGHT, WIDTH, [2, 0, 0, 0, 0])
        assert not (covered.masks[0] & ~alone.masks[0]).any()
        shares.append(covered.masks[0].sum() / alone.masks[0].sum())
    assert min(shares) >= 0.4
    assert sum(share < 1 for share in shares) > 15  # for objects do overlap


def test_sizes_vary(scenes):
    """COCO's small, medium and large objects all occur often; nothing is tiny."""
    areas = np.concatenate([scene.masks.sum((1, 2)) for scene in scenes])
    counts = np.histogram(areas, [0, 32**2, 50**2, 96**2])[0] / len(areas)
    assert counts.min() > 0.1
    assert areas.min() > 40


def test_a_crowded_image_is_an_error():
    with pytest.raises(ValueError, match=r"no room for \d+ objects in an image of 12x10 pixels"):
        draw_scene(np.random.default_rng(0), 10, 12, [0] * 60)


def test_every_class_has_a_shape_and_a_texture_of_its_own():
    assert len({motif(label) for label in range(CLASSES)}) == CLASSES == 100
    assert len({motif(label)[0] for label in range(10)}) == len({motif(label)[1] for label in range(10)}) == 10


@pytest.mark.parametrize("label", [-1, 100])
def test_other_classes_are_an_error(label):
    with pytest.raises(ValueError, match=f"class {label} cannot be drawn: there are 100"):
        draw_object(np.random.default_rng(0), 32, 32, label)


def test_one_object_fills_much_of_its_image(objects):
    for scene in objects[:20]:
        check(scene, scene.labels, 64, 80)
    assert np.mean([scene.masks[0].mean() for scene in objects]) > 0.15


@pytest.fixture(scope="module")
def people():
    rng = np.random.default_rng(3)
    return [draw_person_scene(rng, HEIGHT, WIDTH, 2, [12, 34]) for _ in range(40)]


def test_people_come_first(people):
    for scene in people:
        check(scene, [0, 0, 12, 34], HEIGHT, WIDTH)
        assert scene.keypoints.shape == (4, 17, 3)
        assert not scene.keypoints[2:].any()


def test_visible_joints_are_on_the_person(people):
    seen = np.zeros((17, 3), int)
    for scene in people:
        for mask, keypoints in zip(scene.masks[:2], scene.keypoints[:2], strict=True):
            for number, (x, y, visibility) in enumerate(keypoints):
                seen[number, int(visibility)] += 1
                if visibility == 0:
                    assert x == y == 0
                else:
                    assert 0 <= x < WIDTH
                    assert 0 <= y < HEIGHT
                if visibility == 2:
                    assert mask[int(y), int(x)]
    assert (seen[:, 2] > 15).all()
    assert (seen[:, :2].sum(0) > 10).all()
    assert (seen[:3, 1] > seen[3:5, 1].max()).all()  # nose and eyes are hidden from behind, ears are not


def handedness(image, start, end):
    """Positive where stripes wind around a limb one way, negative the other: the mean product of the slopes of
    brightness along and across it."""
    grey = image.astype(float).mean(2)
    dy, dx = np.gradient(grey)
    length = np.hypot(*(end - start))
    across, along = (end - start) / length
    points = np.floor(start + np.linspace(0.2, 0.8, 30)[:, None] * (end - start)).astype(int)
    columns, rows = points.T
    dx, dy = dx[rows, columns], dy[rows, columns]
    return np.mean((dx * across + dy * along) * (dy * across - dx * along))


def test_left_and_right_limbs_are_wound_in_opposite_ways(people):
    """So that they can be told apart, and are again right in a mirror image whose left and right are swapped."""
    signs, mirrored = [], []
    for scene in people:
        for keypoints in scene.keypoints[:2]:
            for right in (0, 1):
                for start, end in LEFT_LIMBS:
                    a, b = keypoints[start + right], keypoints[end + right]
                    if a[2] == b[2] == 2:
                        signs.append(handedness(scene.image, a[:2], b[:2]) * (1 - 2 * right) > 0)
                        a, b = ((WIDTH - 1e-6 - joint[0], joint[1]) for joint in (a, b))
                        swapped = 1 - right
                        image = scene.image[:, ::-1]
                        mirrored.append(handedness(image, np.array(a), np.array(b)) * (1 - 2 * swapped) > 0)
    assert len(signs) > 200
    assert np.mean(signs) > 0.85
    assert np.mean(mirrored) > 0.85


# Twins are no toys: colour solves neither detection nor classification, and texture and shape do.


def regions(foreground):
    """The boxes and masks of the connected parts, without specks."""
    closed = cv2.morphologyEx(foreground.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    closed = cv2.morphologyEx(closed, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    _, numbers, stats, _ = cv2.connectedComponentsWithStats(closed)
    return [(stats[i, :4], numbers == i) for i in range(1, len(stats)) if stats[i, cv2.CC_STAT_AREA] >= 60]


def lab(image):
    return cv2.cvtColor(image, cv2.COLOR_RGB2LAB)


def unlike_the_background(image, threshold):
    """Regions whose colour is far from that along the border of the image, in its standard deviations."""
    blurred = cv2.blur(lab(image).astype(float), (5, 5))
    border = np.concatenate(
        [blurred[:3], blurred[-3:], *np.swapaxes([blurred[:, :3], blurred[:, -3:]], 1, 2)], axis=None
    )
    border = border.reshape(-1, 3)
    offsets = blurred - np.median(border, axis=0)
    distances = np.einsum("hwi,ij,hwj->hw", offsets, np.linalg.inv(np.cov(border.T) + np.eye(3)), offsets)
    return regions(distances > threshold**2)


def of_one_colour(image, clusters):
    """Connected regions of the clusters of the image's colours."""
    pixels = cv2.blur(lab(image), (5, 5)).astype(np.float32).reshape(-1, 3)
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 10, 1.0)
    assigned = cv2.kmeans(pixels, clusters, None, stop, 1, cv2.KMEANS_PP_CENTERS)[1].reshape(image.shape[:2])
    return [region for i in range(clusters) for region in regions(assigned == i)]


def colour_statistics(image, mask):
    pixels = lab(image)[mask].astype(float)
    return np.concatenate([pixels.mean(0), pixels.std(0)])


def objects_of(scenes):
    return [(scene.image, mask, box, label) for scene in scenes for mask, box, label in each(scene)]


def each(scene):
    return zip(scene.masks, scene.boxes, scene.labels.tolist(), strict=True)


def ap50(scenes, detect):
    """COCO's, of a function from an image to boxes (x, y, w, h), labels and scores."""
    truth, detections = [], []
    for image_id, scene in enumerate(scenes):
        for mask, (left, top, right, bottom), label in each(scene):
            box = [left, top, right - left, bottom - top]
            entry = {"id": len(truth) + 1, "image_id": image_id, "category_id": label, "bbox": box, "iscrowd": 0}
            truth.append({**entry, "area": float(mask.sum())})
        for box, label, score in detect(scene.image):
            detections.append({"image_id": image_id, "category_id": label, "bbox": list(box), "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        categories = [{"id": label} for label in sorted({entry["category_id"] for entry in truth})]
        coco.dataset = {
            "info": {},  # which loadRes copies
            "images": [{"id": i} for i in range(len(scenes))],
            "annotations": truth,
            "categories": categories,
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[1]


def test_ap50_of_perfect_and_of_shifted_boxes(scenes):
    known = {scene.image.tobytes(): scene for scene in scenes[:20]}

    def detect(image, shift):
        return [((left + shift * (right - left), top, right - left, bottom - top), label, 1.0)
                for _, (left, top, right, bottom), label in each(known[image.tobytes()])]  # fmt: skip

    assert ap50(scenes[:20], lambda image: detect(image, 0)) == 1
    assert ap50(scenes[:20], lambda image: detect(image, 0.25)) > 0.95
    assert ap50(scenes[:20], lambda image: detect(image, 0.5)) < 0.3


@pytest.mark.parametrize(
    ("propose", "settings"),
    [
        pytest.param(unlike_the_background, (2, 2.5, 3, 4), id="threshold"),
        pytest.param(of_one_colour, (4, 7, 10), id="clusters", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("of_a_class", [True, False], ids=["of_a_class", "of_any"])
def test_colour_detects_no_objects(scenes, propose, settings, of_a_class):
    """Neither of a class, as its colours were in training, nor of any."""
    if not of_a_class:
        scenes = [dataclasses.replace(scene, labels=np.zeros_like(scene.labels)) for scene in scenes]
    train, test = scenes[:80], scenes[80:]
    features = np.stack([colour_statistics(image, mask) for image, mask, _, _ in objects_of(train)])
    ground = np.stack([colour_statistics(scene.image, ~scene.masks.any(0)) for scene in train])
    labels = np.concatenate([*[scene.labels for scene in train], np.full(len(ground), -1)])
    model = QuadraticDiscriminantAnalysis(reg_param=0.05).fit(np.concatenate([features, ground]), labels)

    def detect(image, setting):
        for box, mask in propose(image, setting):
            if mask.mean() < 0.5:
                scores = model.predict_proba(colour_statistics(image, mask)[None])[0] * np.sqrt(mask.mean())
                for label, score in zip(model.classes_[1:].tolist(), scores[1:].tolist(), strict=True):
                    yield box.tolist(), label, score

    best = max(ap50(test, lambda image, setting=setting: detect(image, setting)) for setting in settings)
    assert 0 < best < 0.2


def test_mean_colours_do_not_tell_ten_classes(objects):
    """Neither of the image, nor even of the object, whose place the classifier is told."""
    labels = np.array([scene.labels[0] for scene in objects])
    for colours in (
        np.stack([scene.image.mean((0, 1)) for scene in objects]),
        np.stack([scene.image[scene.masks[0]].mean(0) for scene in objects]),
    ):
        assert NearestCentroid().fit(colours[:200], labels[:200]).score(colours[200:], labels[200:]) < 0.4


def spectrum(image, box):
    """The amplitudes of spatial frequencies in a box, in grey."""
    left, top, right, bottom = box.astype(int)
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[top:bottom, left:right], (32, 32)).astype(float)
    window = np.hanning(32)
    return np.log1p(np.abs(np.fft.rfft2((grey - grey.mean()) * window[:, None] * window))).ravel()


def test_textures_tell_ten_classes(scenes):
    def features(scenes):
        return np.stack([spectrum(image, box) for image, _, box, _ in objects_of(scenes)])

    labels = [np.concatenate([scene.labels for scene in part]) for part in (scenes[:100], scenes[100:])]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200)).fit(
        features(scenes[:100]), labels[0]
    )
    accuracy = model.score(features(scenes[100:]), labels[1])
    assert accuracy > 0.75
