import warnings

import numpy as np
import pytest

from visionlab.pictures.curves import curves, figure, lower_is_better

STEPS = list(range(10))
FALLING = [1 / (1 + step) for step in STEPS]


def panels(series):
    return {axes.get_title(): axes for axes in figure(series).axes}


def lines(axes):
    """Curves by label; markers alone are not curves."""
    return [line for line in axes.lines if line.get_linestyle() != "None"]


def test_stages_of_a_metric_share_a_panel():
    drawn = panels(
        {
            "train/loss": (STEPS, FALLING),
            "val/loss": (STEPS, FALLING),
            "val/single_label/top1": (STEPS, STEPS),
            "test/single_label/top1": ([9], [8]),
            "lr-SGD": (STEPS, STEPS),
        }
    )
    assert {title: len(lines(axes)) for title, axes in drawn.items()} == {
        "loss": 2,
        "single_label/top1": 2,
        "lr-SGD": 1,
    }
    train, val = lines(drawn["loss"])
    assert train.get_xdata().tolist() == STEPS
    assert train.get_ydata().tolist() == FALLING
    assert train.get_color() != val.get_color()
    assert val.get_color() == lines(drawn["single_label/top1"])[0].get_color()
    assert drawn["lr-SGD"].get_legend() is None


@pytest.mark.parametrize(
    ("metric", "best"), [("loss", 4), ("single_label/nll", 4), ("single_label/top1", 2), ("mAP", 2)]
)
def test_the_best_of_validation_is_marked(metric, best):
    axes = panels(
        {f"train/{metric}": (STEPS[:5], [0, 9, 1, 1, 1]), f"val/{metric}": (STEPS[:5], [3, np.nan, 7, 4, 2])}
    )[metric]
    (star,) = [line for line in axes.lines if line.get_marker() == "*"]
    assert list(star.get_xdata()) == [best]
    assert f"at step {best}" in axes.get_legend().get_texts()[1].get_text()


def test_lower_is_better_by_words():
    assert all(lower_is_better(name) for name in ("loss", "single_label/ece", "loss_box", "top1_error", "NLL"))
    assert not any(lower_is_better(name) for name in ("top1", "mAP", "piece", "accuracy", "lossless"))


@pytest.mark.parametrize(
    ("name", "values", "scale"),
    [
        ("val/loss", [1000, 10, 1], "log"),
        ("val/loss", [50, 10, 1], "linear"),
        ("val/loss", [1000, 10, 0], "linear"),
        ("val/top1", [1e-5, 0.5, 1], "linear"),
    ],
)
def test_losses_over_more_than_two_decades_are_logarithmic(name, values, scale):
    ((_, axes),) = panels({name: ([0, 1, 2], values)}).items()
    assert axes.get_yscale() == scale


def test_long_curves_are_drawn_under_their_running_mean():
    rng = np.random.default_rng(0)
    values = np.where(np.arange(2000) == 777, np.nan, rng.normal(5, 1, 2000))
    raw, mean = panels({"train/loss": (np.arange(2000), values)})["loss"].lines
    np.testing.assert_array_equal(raw.get_ydata(), values)
    expected = [np.nanmean(values[max(i - 20, 0) : i + 21]) for i in range(2000)]
    np.testing.assert_allclose(mean.get_ydata(), expected)


@pytest.mark.parametrize(
    "series",
    [
        {"val/loss": ([0], [1.0])},
        {"val/loss": ([], [])},
        {"val/loss": ([0, 1], [np.nan, np.inf])},
        {"val/loss": (STEPS, [1, 2, np.inf, np.nan, 5, 6, -np.inf, 8, 9, 10])},
        {"val/loss": (np.arange(500), np.full(500, np.nan))},
        {"val/" + "long_name" * 99: (STEPS, FALLING), "x" * 999 + "/loss": (STEPS, FALLING)},
        {"val/损失 $\\frac$ 🐸": (STEPS, FALLING), "_hid$^$den/größe": (STEPS, FALLING)},
        {f"stage{i}/loss": (STEPS, FALLING) for i in range(12)},
        {f"val/metric{i}": (STEPS, FALLING) for i in range(20)},
    ],
)
def test_nothing_is_too_strange_to_draw(series):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = curves(series)
    assert picture.mode == "RGB"
    assert picture.width <= 1500
    assert np.asarray(picture).min() < 100


def test_another_value_gives_another_picture():
    one, other = (curves({"val/loss": (STEPS, values)}) for values in (FALLING, FALLING[::-1]))
    assert one.size == other.size
    assert one.tobytes() != other.tobytes()


@pytest.mark.parametrize(
    ("series", "message"),
    [({}, "no curves"), ({"val/loss": ([1, 2], [1])}, "val/loss"), ({"val/loss": ([[1]], [[1]])}, "one dimension")],
)
def test_what_cannot_be_drawn_is_an_error(series, message):
    with pytest.raises(ValueError, match=message):
        curves(series)
