import copy
import pickle

import pytest
import torch
import torchvision
from torchvision.ops import box_area, box_iou, clip_boxes_to_image

from tiny_detectors import TINY, TinyDetector, faster_rcnn, fcos, retinanet, ssd
from visionlab.nets.detection import losses_and_detections

CLASSES = 3
every = pytest.mark.parametrize("kind", TINY)
most = pytest.mark.parametrize("kind", ["Mask R-CNN", "RetinaNet", "FCOS", "SSD"])
generator = torch.Generator()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
    generator.manual_seed(0)


def detector(kind, **options):
    return TINY[kind](CLASSES, **options)


def images(*sizes):
    return [torch.rand(3, height, width, generator=generator) for height, width in sizes]


def target(kind, boxes, labels, size, crowd=()):
    one = {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "iscrowd": torch.tensor([i in crowd for i in range(len(labels))], dtype=torch.bool),
    }
    if kind == "Mask R-CNN":
        one["masks"] = torch.zeros(len(labels), *size, dtype=torch.uint8)
        for mask, (left, top, right, bottom) in zip(one["masks"], one["boxes"].long().tolist(), strict=True):
            mask[top : bottom + 1, left : right + 1] = 1
    if kind == "Keypoint R-CNN":
        one["keypoints"] = torch.rand(len(labels), 17, 3, generator=generator) * 20
        one["keypoints"][..., 2] = 2
    return one


def batch(kind):
    sizes = (60, 90), (70, 40)
    objects = ([[3, 4, 40, 50], [50, 10, 80, 30.5]], [2, 0]), ([[1, 1, 20, 60]], [1])
    return images(*sizes), [target(kind, *some, size) for some, size in zip(objects, sizes, strict=True)]


def state_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(state, model):
    return all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def shifted(targets, model):
    """What torchvision's own forward wants."""
    first = 0 if type(model).__name__ in ("RetinaNet", "FCOS") else 1
    return [{**one, "labels": one["labels"] + first} for one in targets], first


@every
def test_losses_are_torchvisions_own_in_training(kind):
    pictures, targets = batch(kind)
    model, theirs = detector(kind), detector(kind)
    theirs.load_state_dict(model.state_dict())
    torch.manual_seed(1)
    losses, _ = losses_and_detections(model, pictures, targets)
    torch.manual_seed(1)
    expected = theirs(pictures, shifted(targets, theirs)[0])
    assert {name.removeprefix("loss_") for name in expected} == losses.keys()
    for name, value in expected.items():
        assert torch.equal(losses[name.removeprefix("loss_")], value), name
    assert same(model.state_dict(), theirs)


@every
def test_detections_are_those_of_evaluation_whatever_the_mode(kind):
    pictures, targets = batch(kind)
    thresh = {"box_score_thresh" if "R-CNN" in kind else "score_thresh": 0.01}
    model = detector(kind, **thresh).eval()
    with torch.no_grad():
        theirs = model(pictures)
    _, find = losses_and_detections(model, pictures, targets)
    found = find()
    assert sum(len(one["boxes"]) for one in found) > 0
    first = shifted(targets, model)[1]
    for ours, own in zip(found, theirs, strict=True):
        assert torch.equal(ours["boxes"], own["boxes"])
        assert torch.equal(ours["scores"], own["scores"])
        assert torch.equal(ours["labels"], own["labels"] - first)
        if "masks" in own:
            assert torch.equal(ours["masks"], (own["masks"][:, 0] > 0.5).to(torch.uint8))
        if "keypoints" in own:
            assert torch.equal(ours["keypoints"], own["keypoints"])


@every
def test_evaluation_gives_losses_and_moves_nothing(kind):
    pictures, targets = batch(kind)
    model = detector(kind).eval()
    before, random = state_of(model), torch.get_rng_state()
    losses, find = losses_and_detections(model, pictures, targets)
    find()
    assert same(before, model)
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(module.training for module in model.modules())
    torch.rand(1)
    again, _ = losses_and_detections(model, pictures, targets)
    assert all(torch.equal(losses[name], again[name]) for name in losses)


@every
def test_detecting_in_training_moves_nothing_either(kind):
    pictures, targets = batch(kind)
    model = detector(kind)
    model.backbone.eval()
    _, find = losses_and_detections(model, pictures, targets)
    before = state_of(model)
    modes = [module.training for module in model.modules()]
    find()
    assert same(before, model)
    assert [module.training for module in model.modules()] == modes


@every
def test_losses_reach_the_images(kind):
    pictures, targets = batch(kind)
    for picture in pictures:
        picture.requires_grad_()
    losses, _ = losses_and_detections(detector(kind).eval(), pictures, targets)
    for name, loss in losses.items():
        (gradient,) = torch.autograd.grad(loss, pictures[0], retain_graph=True)
        assert gradient.isfinite().all(), name
        assert gradient.abs().sum() > 0, name


@every
def test_nothing_is_suppressed_where_no_one_asks(kind, monkeypatch):
    def refuse(*_):
        raise AssertionError("suppressed")

    pictures, targets = batch(kind)
    model = detector(kind).eval()
    monkeypatch.setattr(torchvision.ops.boxes, "batched_nms", refuse)
    losses, find = losses_and_detections(model, pictures, None)
    assert losses == {}
    if "R-CNN" not in kind:
        assert losses_and_detections(model, pictures, targets)[0]
    with pytest.raises(AssertionError, match="suppressed"):
        find()


@every
@pytest.mark.parametrize(("training", "counts"), [(True, (0, 2)), (True, (0, 0)), (False, (0, 0))])
def test_images_without_objects_are_learnt_from(kind, training, counts):
    sizes = (60, 90), (70, 40)
    boxes, labels = [[3, 4, 30, 35], [5, 10, 38, 30.5]], [2, 0]
    targets = [target(kind, boxes[:n], labels[:n], size) for n, size in zip(counts, sizes, strict=True)]
    model = detector(kind).train(training)
    losses, find = losses_and_detections(model, images(*sizes), targets)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert len(find()) == 2


def test_a_batch_without_any_proposal_is_learnt_from():
    model = faster_rcnn(CLASSES, rpn_score_thresh=0.99)  # as MobileNet's has 0.05
    losses, _ = losses_and_detections(model, images((60, 90)), [target("", [], [], (60, 90))])
    assert all(loss.isfinite() for loss in losses.values())


@every
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (2, 97), (50, 50)])
def test_images_of_any_size_with_objects_of_a_pixel_and_of_the_whole(kind, size):
    height, width = size
    boxes = [[0, 0, width, height], [width - 1, height - 1, width, height]]
    thresh = {"box_score_thresh" if "R-CNN" in kind else "score_thresh": 0.01}
    model = detector(kind, **thresh).eval()
    losses, find = losses_and_detections(model, images(size), [target(kind, boxes, [0, 2], size)])
    assert all(loss.isfinite() for loss in losses.values())
    (found,) = find()
    torch.testing.assert_close(found["boxes"], clip_boxes_to_image(found["boxes"], size), rtol=0, atol=1e-3)
    if kind == "Mask R-CNN":
        assert found["masks"].shape == (len(found["boxes"]), height, width)


@every
def test_finding_nothing_has_shapes(kind):
    thresh = {"box_score_thresh" if "R-CNN" in kind else "score_thresh": 1.1}
    _, find = losses_and_detections(detector(kind, **thresh).eval(), images((60, 90)), None)
    (found,) = find()
    shapes = {name: tuple(value.shape) for name, value in found.items()}
    expected = {"boxes": (0, 4), "scores": (0,), "labels": (0,)}
    if kind == "Mask R-CNN":
        expected["masks"] = (0, 60, 90)
    if kind == "Keypoint R-CNN":
        expected["keypoints"] = (0, 17, 3)
    assert shapes == expected


@pytest.mark.parametrize("kind", ["Mask R-CNN", "Keypoint R-CNN"])
def test_data_without_what_is_learnt_is_refused(kind):
    pictures, targets = batch("")
    with pytest.raises(ValueError, match="and the objects of this data have none"):
        losses_and_detections(detector(kind), pictures, targets)


def test_what_is_not_learnt_is_not_wanted():
    pictures, targets = batch("Mask R-CNN")
    assert "mask" not in losses_and_detections(faster_rcnn(CLASSES), pictures, targets)[0]


@pytest.mark.parametrize("make", [retinanet, fcos, ssd])
def test_what_lies_in_a_crowd_is_no_background_to_one_stage(make):
    size, crowd = (64, 64), torch.tensor([[24.0, 0, 64, 64]])
    boxes = [[0, 0, 16, 16], crowd[0].tolist()]
    model = make(CLASSES).eval()
    outputs = {}

    def keep(_, __, given):
        for name, value in given.items():
            value.retain_grad()
            outputs[name] = value

    model.head.register_forward_hook(keep)
    features = model.backbone(torch.zeros(1, 3, 64, 64))
    inputs = model.transform(images(size))[0]
    (anchors,) = model.anchor_generator(inputs, [features])

    def gradients(crowds):
        targets = [target("", boxes, [1, 2], size, crowds)]
        if not crowds:
            targets = [target("", boxes[:1], [1], size)]
        model.neg_to_pos_ratio = 1000  # let SSD, which mines the hardest, take all
        losses, _ = losses_and_detections(model, images(size), targets)
        losses["classification"].backward()
        return outputs["cls_logits"].grad[0].abs().sum(1)

    if make is fcos:
        centres = (anchors[:, :2] + anchors[:, 2:]) / 2
        inside = (centres > crowd[0, :2]).all(1) & (centres < crowd[0, 2:]).all(1)
    else:
        shared = (torch.minimum(anchors[:, 2:], crowd[:, 2:]) - torch.maximum(anchors[:, :2], crowd[:, :2])).clamp(
            min=0
        )
        inside = shared.prod(1) >= 0.7 * box_area(anchors)
    assert 0 < inside.sum() < len(inside)
    with_crowd, without = gradients((1,)), gradients(())
    assert (with_crowd[inside] == 0).all()
    assert (with_crowd[~inside] > 0).all()
    assert (without > 0).all()


def test_what_lies_in_a_crowd_is_no_background_to_two_stages():
    size, crowd = (64, 64), torch.tensor([[24.0, 0, 64, 64]])
    model = faster_rcnn(CLASSES, rpn_batch_size_per_image=10_000).eval()
    kept, seen = [], []

    def keep(_, __, given):
        given[0][0].retain_grad()
        kept.append(given[0][0])

    model.rpn.head.register_forward_hook(keep)
    model.roi_heads.register_forward_pre_hook(lambda _, given: seen.append(given[1][0]))
    targets = [target("", [[0, 0, 16, 16], crowd[0].tolist()], [1, 2], size, (1,))]
    losses, _ = losses_and_detections(model, images(size), targets)
    losses["objectness"].backward()
    inputs = model.transform(images(size))[0]
    (anchors,) = model.rpn.anchor_generator(inputs, [model.backbone(inputs.tensors)])

    def inside(boxes):
        sides = (torch.minimum(boxes[:, 2:], crowd[:, 2:]) - torch.maximum(boxes[:, :2], crowd[:, :2])).clamp(min=0)
        return sides.prod(1) >= 0.7 * box_area(boxes)

    gradient = kept[0].grad[0].permute(1, 2, 0).flatten()
    assert (gradient[inside(anchors)] == 0).all()
    assert (gradient[~inside(anchors)] != 0).sum() > 100
    assert len(seen[0]) > 0
    assert not (inside(seen[0]) & (box_iou(seen[0], targets[0]["boxes"][:1])[:, 0] < 0.5)).any()


@every
def test_a_crowd_alone_makes_a_finite_loss(kind):
    size = (64, 64)
    targets = [target(kind, [[0, 0, 64, 64]], [1], size, (0,))]
    losses, _ = losses_and_detections(detector(kind), images(size), targets)
    assert all(loss.isfinite() for loss in losses.values())


@most
def test_mixed_precision_places_boxes_as_exactly(kind):
    pictures, targets = batch(kind)
    net = TinyDetector(CLASSES, kind, score_thresh=0.01).eval()
    with torch.autocast("cpu", torch.bfloat16):
        losses, find = net(pictures, targets)
        found = find()
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    for one in found:
        assert one["boxes"].dtype == one["scores"].dtype == torch.float32
        inner = one["boxes"][(one["boxes"] > 0).all(1)]
        assert not torch.equal(inner, inner.bfloat16().float())
    exact, _ = net(pictures, targets)
    assert sum(losses.values()).item() == pytest.approx(sum(exact.values()).item(), rel=0.05)


@most
def test_a_detector_can_be_copied(kind):
    pictures, _ = batch(kind)
    net = TinyDetector(CLASSES, kind, score_thresh=0.01).eval()
    for copied in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        for one, other in zip(copied(pictures)[1](), net(pictures)[1](), strict=True):
            assert torch.equal(one["boxes"], other["boxes"])


def test_grey_images_pass_as_rgb():
    model = faster_rcnn(CLASSES).eval()
    grey = torch.rand(1, 50, 60)
    one, other = (losses_and_detections(model, [image], None)[1]()[0] for image in (grey, grey.expand(3, 50, 60)))
    assert torch.equal(one["boxes"], other["boxes"])
