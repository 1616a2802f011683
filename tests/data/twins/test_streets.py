import hashlib

import cv2
import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.neighbors import NearestCentroid

from visionlab.data.twins.streets import POLE, SKY, UNLABELLED, draw_street

HEIGHT, WIDTH = 90, 120


@pytest.fixture(scope="module")
def streets():
    rng = np.random.default_rng(0)
    return [draw_street(rng, HEIGHT, WIDTH) for _ in range(60)]


def test_is_a_function_of_the_seed():
    def drawn(seed):
        return hashlib.sha256(
            b"".join(a.tobytes() for a in draw_street(np.random.default_rng(seed), 60, 80))
        ).hexdigest()

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)
    assert drawn(0).startswith("900c1fbeb53e93b2")


def test_every_class_occurs(streets):
    for image, classes in streets:
        assert image.shape == (HEIGHT, WIDTH, 3)
        assert classes.shape == (HEIGHT, WIDTH)
        assert image.dtype == classes.dtype == np.uint8
    counts = np.stack([np.bincount(classes.ravel(), minlength=UNLABELLED + 1) for _, classes in streets])
    assert counts.shape == (60, 12)
    assert (counts > 0).mean(0).min() > 0.5  # of the streets
    shares = counts.sum(0) / counts.sum()
    assert shares[SKY] > 0.1
    assert shares[POLE] < 0.02
    assert shares.max() < 0.35


def test_is_laid_out_as_streets_are(streets):
    """The sky is above, and road and pavement are below whatever the size of the image."""
    for classes in [classes for _, classes in streets] + [draw_street(np.random.default_rng(1), 200, 150)[1]]:
        rows = np.broadcast_to(np.linspace(0, 1, len(classes))[:, None], classes.shape)
        assert rows[classes == 0].max(initial=0) < 0.55
        assert rows[(classes == 3) | (classes == 4)].min() > 0.35
        assert (classes[-1] == UNLABELLED).any()


def filters(image):
    """Of each pixel: the strengths of oriented waves and of contrast around it, in grey."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    features = []
    for wavelength in (4, 9):
        for angle in np.arange(4) * np.pi / 4:
            waves = [
                cv2.filter2D(grey, -1, cv2.getGaborKernel((13, 13), 3.0, angle, wavelength, 1.0, phase) / 50)
                for phase in (0, np.pi / 2)
            ]
            features.append(cv2.blur(np.hypot(*(wave - cv2.blur(wave, (13, 13)) for wave in waves)), (5, 5)))
    return np.stack(features, axis=-1)


def test_textures_and_places_tell_classes_and_colours_do_not(streets):
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)

    def sample(part, features):
        rng = np.random.default_rng(0)
        chosen = [np.flatnonzero(classes.ravel() != UNLABELLED) for _, classes in part]
        chosen = [rng.choice(where, 150, replace=False) for where in chosen]
        x = [features(image).reshape(HEIGHT * WIDTH, -1)[where] for (image, _), where in zip(part, chosen, strict=True)]
        return np.concatenate(x), np.concatenate(
            [classes.ravel()[where] for (_, classes), where in zip(part, chosen, strict=True)]
        )

    def places_and_textures(image):
        return np.concatenate([filters(image), np.stack([rows, columns], -1)], axis=-1)

    def accuracy(model, features):
        return model.fit(*sample(streets[:40], features)).score(*sample(streets[40:], features))

    _, labels = sample(streets[40:], lambda image: image)
    most_frequent = np.bincount(labels).max() / len(labels)
    forest = ExtraTreesClassifier(30, min_samples_leaf=3, random_state=0)
    assert accuracy(NearestCentroid(), lambda image: image) < 0.2
    assert accuracy(forest, lambda image: image) < most_frequent + 0.1
    assert accuracy(forest, filters) > 0.7
    assert accuracy(forest, places_and_textures) > 0.8
