import warnings

import numpy as np
import pytest

from visionlab.pictures.confusion import confusion, figure, most_confused


def random_counts(classes, images=60):
    rng = np.random.default_rng(0)
    shares = 0.3 * rng.dirichlet(np.full(classes, 0.1), classes) + 0.7 * np.eye(classes)
    return np.stack([rng.multinomial(images, row / row.sum()) for row in shares])


def names(classes):
    return [f"class {i}" for i in range(classes)]


def test_every_cell_of_few_classes_has_its_count():
    counts = random_counts(7)
    axes = figure(counts, names(7)).axes[0]
    drawn = {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in axes.texts}
    assert drawn == {(int(r), int(c)): str(counts[r, c]) for r, c in np.argwhere(counts)}
    assert [tick.get_text() for tick in axes.get_xticklabels()] == names(7)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == names(7)


def test_colour_is_the_share_of_the_true_class_and_grey_without_images():
    counts = np.array([[8, 2, 0], [0, 0, 0], [1, 0, 3]])
    axes = figure(counts, names(3)).axes[0]
    shares = axes.images[0].get_array().filled(np.nan)
    np.testing.assert_allclose(shares, [[0.8, 0.2, 0], [np.nan] * 3, [0.25, 0, 0.75]])
    whole = confusion(counts, names(3))
    grey = [count for count, colour in whole.getcolors(2**24) if len(set(colour)) == 1 and 210 < colour[0] < 220]
    assert max(grey) > 1000


def test_confused_pairs_of_many_classes_are_listed():
    counts = np.eye(100, dtype=np.int64) * 50
    counts[3, 70], counts[70, 3], counts[8, 9] = 4, 9, 4
    drawn = figure(counts, names(100))
    assert len(drawn.axes[0].texts) == 0
    lines = drawn.texts[-1].get_text().split("\n")
    assert lines[1:] == [
        "9 of 59:  class 70 → class 3",
        "4 of 54:  class 3 → class 70",
        "4 of 54:  class 8 → class 9",
    ]


def test_most_confused_equals_a_slow_search():
    counts = random_counts(30)
    slow = sorted((-counts[r, c], r, c) for r in range(30) for c in range(30) if r != c and counts[r, c] > 0)
    assert most_confused(counts, 15) == [(r, c) for _, r, c in slow[:15]]
    assert most_confused(np.eye(3, dtype=np.int64), 15) == []


@pytest.mark.parametrize("classes", [1, 2, 10, 20, 21, 60, 61, 1000])
def test_any_number_of_classes(classes):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = confusion(
            random_counts(classes), [f"a long name of a 类 $\\frac$ {i}" for i in range(classes)], "$^$ " * 999
        )
    assert picture.mode == "RGB"
    assert 200 < picture.height < 1500
    assert 300 < picture.width < 2000


def test_no_image_at_all():
    assert confusion(np.zeros((4, 4), dtype=np.int64), names(4)).size == confusion(np.eye(4, dtype=int), names(4)).size


@pytest.mark.parametrize("classes", [2, 9, 40])
def test_nothing_is_clipped(classes):
    pixels = np.asarray(confusion(random_counts(classes), ["some quite long name of a class"] * classes, "title"))
    border = np.concatenate([pixels[:5].ravel(), pixels[-5:].ravel(), pixels[:, :5].ravel(), pixels[:, -5:].ravel()])
    assert (border == 255).all()


@pytest.mark.parametrize(
    ("counts", "classes"),
    [(np.zeros((2, 3), int), 2), (np.zeros(4, int), 4), (np.zeros((0, 0), int), 0), (-np.eye(2, dtype=int), 2)],
)
def test_what_is_no_confusion_matrix_is_an_error(counts, classes):
    with pytest.raises(ValueError, match="square matrix"):
        confusion(counts, names(classes))


def test_names_must_be_as_many_as_classes():
    with pytest.raises(ValueError, match="3 classes need as many names, not 2"):
        confusion(np.eye(3, dtype=np.int64), names(2))
