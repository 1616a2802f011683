import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio

from visionlab.metrics.reconstruction import Hole, Paired, distances, middle


def images(count=3, size=(8, 12), seed=0):
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def test_distances_are_torchs_and_torchmetrics_image_by_image():
    one, other = images(), images(seed=1)
    found = distances(one, other)
    for i in range(3):
        l1, l2 = (one[i] - other[i]).abs().mean(), (one[i] - other[i]).square().mean()
        psnr = peak_signal_noise_ratio(one[i], other[i], data_range=1.0)
        for name, expected in (("L1", l1), ("L2", l2), ("PSNR", psnr)):
            torch.testing.assert_close(found[name][i], expected.double(), rtol=1e-6, atol=0)
    assert distances(one, one)["PSNR"].tolist() == [100.0] * 3


def test_pairs_are_compared_with_their_targets_and_padding_does_not_count():
    target = (images() * 255).byte()
    made = images(seed=1)
    metric = Paired()
    metric.update({"images": made}, {"target_images": target, "ids": torch.tensor([4, -1, 2])})
    expected = distances(made[[2, 0]], target[[2, 0]] / 255)
    found = metric.compute()
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        {name: float(values.mean()) for name, values in expected.items()}
    )
    assert metric.records["ids"].tolist() == [2, 4]


def test_only_the_hole_counts():
    truth = images(2, (8, 8))
    filled = images(2, (8, 8), seed=1)
    metric = Hole([0.5, 0.4, 0.3])
    metric.update({"images": filled}, {"images": truth, "ids": torch.arange(2)})
    found = {name: float(value) for name, value in metric.compute().items()}
    inside, made = truth[:, :, 2:6, 2:6], filled[:, :, 2:6, 2:6]
    assert torch.equal(middle(truth), inside)
    outside = torch.ones(8, 8, dtype=torch.bool)
    outside[2:6, 2:6] = False
    plain = torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    around = truth[:, :, outside].mean(2)[..., None, None].expand(2, 3, 4, 4)
    for prefix, way in (("", made), ("mean_", plain), ("around_", around)):
        assert found[f"{prefix}L1"] == pytest.approx(float((way - inside).abs().mean()), rel=1e-5)
        assert found[f"{prefix}L2"] == pytest.approx(float((way - inside).square().mean()), rel=1e-5)
        each = [float(peak_signal_noise_ratio(way[i], inside[i], data_range=1.0)) for i in range(2)]
        assert found[f"{prefix}PSNR"] == pytest.approx(sum(each) / 2, rel=1e-5)
