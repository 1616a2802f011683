import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tiny_segmenters import ByPixel, TinySegmenter, ValidNet
from visionlab.losses.segmentation import CrossEntropy, Dice
from visionlab.tasks.inference import OverlapTile, SlidingWindow
from visionlab.tasks.segmentation import Segmentation


def task_of(net=ByPixel, num_classes=4, **arguments):
    torch.manual_seed(0)
    return Segmentation(num_classes, net, lambda parameters: torch.optim.SGD(parameters, 0.1), **arguments)


def batch(count=2, size=(12, 10), classes=4):
    generator = torch.Generator().manual_seed(1)
    masks = torch.randint(classes, (count, *size), generator=generator, dtype=torch.uint8)
    masks[:, 0] = 255
    images = torch.rand(count, 3, *size, generator=generator)
    return {"images": images, "masks": masks, "ids": torch.arange(count)}


def ragged(*sizes):
    parts = [batch(1, size) for size in sizes]
    images, masks = ([part[name][0] for part in parts] for name in ("images", "masks"))
    return {"images": images, "masks": masks, "ids": torch.arange(len(sizes))}


def test_the_loss_is_torchs_and_the_prediction_the_highest_logit():
    task, given = task_of(), batch()
    step = task.step(given)
    logits = task.net(given["images"])
    expected = F.cross_entropy(logits, given["masks"].long(), ignore_index=255)
    assert step.losses.keys() == {"cross_entropy"}
    torch.testing.assert_close(step.losses["cross_entropy"].mean(), expected)
    for found, one in zip(step.predict(), logits.argmax(1), strict=True):
        assert found["mask"].dtype == torch.uint8
        assert torch.equal(found["mask"], one.byte())


def test_losses_are_weighted_and_have_the_names_that_they_were_given():
    given = batch()
    losses = {"ce": CrossEntropy(2.0, [1.0, 2.0, 3.0, 4.0]), "overlap": Dice(0.5)}
    task = task_of(losses=losses)
    logits, masks = task.net(given["images"]), given["masks"].long()
    step = task.step(given)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    torch.testing.assert_close(step.losses["ce"].mean(), 2 * F.cross_entropy(logits, masks, weights, ignore_index=255))
    torch.testing.assert_close(step.losses["overlap"], 0.5 * Dice()(logits, masks))


def test_auxiliary_heads_learn_in_training_only():
    given = batch()
    task = task_of(lambda outputs: TinySegmenter(outputs, heads=2), auxiliary_weight=0.3)
    task.net.features[3].p = 0.0
    step = task.step(given)
    masks = given["masks"].long()
    logits = task.net(given["images"])
    main, *auxiliary = (F.cross_entropy(one, masks, ignore_index=255) for one in logits)
    torch.testing.assert_close(step.losses["cross_entropy"].mean(), main)
    torch.testing.assert_close(step.losses["auxiliary"].mean(), 0.3 * sum(auxiliary))
    assert torch.equal(step.predict()[0]["mask"], logits[0][0].argmax(0).byte())
    assert task.eval().step(given).losses.keys() == {"cross_entropy"}


def test_one_output_is_enough_for_two_classes():
    given = batch(classes=2)
    task = task_of(num_classes=2, binary=True)
    logits = task.net(given["images"])
    assert logits.shape[1] == 1
    counted = given["masks"] != 255
    expected = F.binary_cross_entropy_with_logits(logits[:, 0][counted], given["masks"][counted].float())
    step = task.step(given)
    torch.testing.assert_close(step.losses["cross_entropy"].mean(), expected)
    assert torch.equal(step.predict()[1]["mask"], (logits[1, 0] > 0).byte())
    with pytest.raises(ValueError, match="binary segmentation is of 2 classes, and the data has 4"):
        task_of(binary=True)


def test_in_evaluation_an_image_depends_on_no_other():
    task = task_of(TinySegmenter).eval()
    given = ragged((12, 10), (5, 30), (1, 1))
    step = task.step(given)
    assert step.losses["cross_entropy"].shape == (3,)
    for i, (image, mask) in enumerate(zip(given["images"], given["masks"], strict=True)):
        alone = task.step({"images": [image], "masks": [mask], "ids": torch.tensor([i])})
        assert torch.equal(alone.losses["cross_entropy"][0], step.losses["cross_entropy"][i])
        assert torch.equal(alone.predict()[0]["mask"], step.predict()[i]["mask"])
        assert step.predict()[i]["mask"].shape == mask.shape


def test_without_masks_there_are_predictions_and_no_losses():
    for given in (batch(), ragged((12, 10), (5, 30))):
        del given["masks"]
        step = task_of().step(given)
        assert step.losses == {}
        assert len(step.predict()) == 2


def test_losses_can_be_followed_back_to_the_image():
    given = ragged((6, 7), (8, 9))
    for image in given["images"]:
        image.requires_grad_()
    task_of().step(given).losses["cross_entropy"].sum().backward()
    assert all(image.grad.any() for image in given["images"])


def test_a_net_without_padding_learns_the_middle_and_is_evaluated_by_tiles():
    given = batch(size=(16, 22))
    task = task_of(ValidNet)
    logits = task.net(given["images"])
    assert logits.shape[2:] == (10, 16)
    expected = F.cross_entropy(logits, given["masks"][:, 3:-3, 3:-3].long(), ignore_index=255)
    torch.testing.assert_close(task.step(given).losses["cross_entropy"].mean(), expected)
    with pytest.raises(ValueError, match="the classes of 10 x 16 of 16 x 22 pixels: set the task's inference to Over"):
        task.step(given).predict()
    tiled = task_of(ValidNet, inference=OverlapTile(8, 3, 2)).step(ragged((16, 22), (3, 5)))
    assert tiled.losses == {}
    assert [found["mask"].shape for found in tiled.predict()] == [(16, 22), (3, 5)]


def test_windows_serve_any_size():
    task = task_of(TinySegmenter, inference=SlidingWindow(8)).eval()
    found = task.step(ragged((30, 17), (2, 3))).predict()
    assert [one["mask"].shape for one in found] == [(30, 17), (2, 3)]


def test_wrong_labels_and_nets_are_refused():
    given = ragged((4, 5), (6, 7))
    given["masks"][1][2, 3] = 9
    given["ids"] = torch.tensor([17, 34])
    with pytest.raises(ValueError, match=r"the mask of image 34 has label 9; labels are 0\.\.3, or 255 for void"):
        task_of().step(given)
    with pytest.raises(ValueError, match=r"the net must give \(2, 4, H, W\) logits, not \(2, 5, 12, 10\)"):
        task_of(lambda _: ByPixel(5)).step(batch())
    with pytest.raises(ValueError, match=r"the net gives logits of 14 x 12 pixels for masks of \(12, 10\)"):
        task_of(lambda outputs: nn.Conv2d(3, outputs, 1, padding=1)).step(batch())
    for losses in ({}, {"auxiliary": Dice()}):
        with pytest.raises(ValueError, match="losses must be at least one, and none be called auxiliary"):
            task_of(losses=losses)
