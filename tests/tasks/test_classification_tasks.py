import pytest
import torch
from torch.nn import functional as F

from stand_ins import TinyNet
from visionlab.batch import to_unit
from visionlab.tasks.classification import Classification, MultiLabelClassification


def make(task, **arguments):
    torch.manual_seed(0)
    return task(4, TinyNet, lambda parameters: torch.optim.SGD(parameters, 0.1), **arguments).eval()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(6, 1, 8, 8, generator=generator)
    return {"images": images, "labels": torch.tensor([0, 1, 2, 3, 0, 1]), "ids": torch.arange(6)}


def test_a_step_gives_one_differentiable_loss_an_image_and_shares_its_forward_pass(batch):
    task = make(Classification, label_smoothing=0.1)
    batch["images"].requires_grad_()
    calls = []
    task.net.register_forward_hook(lambda *_: calls.append(1))
    step = task.step(batch)
    loss = step.losses["cross_entropy"]
    predictions = step.predict()
    expected = F.cross_entropy(predictions["logits"], batch["labels"], reduction="none", label_smoothing=0.1)
    assert torch.equal(loss, expected)
    assert len(calls) == 1
    loss.sum().backward()
    assert batch["images"].grad.abs().sum() > 0
    assert torch.allclose(predictions["scores"].sum(1), torch.ones(6))


def test_without_labels_there_are_predictions_and_no_losses(batch):
    del batch["labels"]
    step = make(Classification).step(batch)
    assert step.losses == {}
    assert step.predict()["scores"].shape == (6, 4)


def test_multi_label_averages_over_the_known_labels(batch):
    batch["labels"] = torch.tensor([[1, 0, torch.nan, 0]] * 5 + [[torch.nan] * 4])
    step = make(MultiLabelClassification).step(batch)
    logits = step.predict()["logits"]
    expected = F.binary_cross_entropy_with_logits(logits[0, [0, 1, 3]], torch.tensor([1.0, 0, 0]))
    assert step.losses["binary_cross_entropy"][0].item() == pytest.approx(expected.item(), rel=1e-6)
    assert step.losses["binary_cross_entropy"][5] == 0
    assert torch.equal(step.predict()["scores"], logits.sigmoid())


def test_label_smoothing_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"label_smoothing must lie in \[0, 1\), not 1"):
        make(Classification, label_smoothing=1.0)


def test_a_task_built_by_hand_reloads_with_its_parts(batch, tmp_path):
    task = make(Classification)
    torch.save({"state_dict": task.state_dict(), "pytorch-lightning_version": "2.6.6"}, tmp_path / "by_hand.ckpt")
    again = Classification.load_from_checkpoint(
        tmp_path / "by_hand.ckpt",
        num_classes=4,
        net=TinyNet,
        optimizer=lambda parameters: torch.optim.SGD(parameters, 0.1),
    ).eval()
    assert torch.equal(again.step(batch).predict()["logits"], task.step(batch).predict()["logits"])


@pytest.mark.parametrize(("dtype", "top"), [(torch.uint8, 255), (torch.uint16, 65535)])
def test_pixels_become_unit_floats_by_their_dtype(dtype, top):
    assert to_unit(torch.tensor([0, top], dtype=dtype)).tolist() == [0.0, 1.0]
    assert to_unit(torch.tensor([0.5]), torch.bfloat16).dtype == torch.bfloat16


def test_pixels_without_a_scale_are_refused():
    with pytest.raises(TypeError, match=r"not torch\.int64"):
        to_unit(torch.tensor([1]))
