from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from visionlab.losses.adversarial import LeastSquares, NonSaturating
from visionlab.losses.style import content, gram, style, total_variation
from visionlab.nets.features import ClassifierFeatures
from visionlab.tasks.cyclegan import CycleGAN
from visionlab.tasks.gatys import restyle
from visionlab.tasks.image_pool import ImagePool
from visionlab.tasks.inpainting import Inpainting
from visionlab.tasks.pix2pix import Pix2Pix
from visionlab.tasks.style_transfer import StyleTransfer


def sgd(parameters):
    return torch.optim.SGD(parameters, 0.1)


def translator(num_classes):
    return nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Sigmoid())


def judge_of(channels):
    return lambda num_classes: nn.Conv2d(channels, 1, 3, stride=2)


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def pairs():
    return {
        "images": rand(2, 3, 9, 9),
        "target_images": (rand(2, 3, 9, 9, seed=1) * 255).byte(),
        "ids": torch.arange(2),
    }


def test_pix2pix_minimises_what_the_paper_says():
    """Isola et al. 2017, equation 4 and section 3.3, for pixels in [-1, 1]."""
    torch.manual_seed(0)
    task, batch = Pix2Pix(0, translator, judge_of(6), sgd, sgd, NonSaturating()), pairs()
    target = batch["target_images"] / 255
    made = task.net(batch["images"])
    on_real, on_fake = (task.discriminator(torch.cat([batch["images"], other], 1)) for other in (target, made))
    bce, ones = F.binary_cross_entropy_with_logits, torch.ones_like(on_real)
    of_net = task.generator_losses(batch, task.make(batch))
    torch.testing.assert_close(of_net["generator"], bce(on_fake, ones))
    torch.testing.assert_close(of_net["l1"], 100 * F.l1_loss(2 * made - 1, 2 * target - 1))
    of_judge = task.discriminator_losses(batch, {"fake": made.detach()})["discriminator"]
    torch.testing.assert_close(of_judge, (bce(on_real, ones) + bce(on_fake, 0 * ones)) / 2)
    step = task.step(batch)
    assert {name: loss.shape for name, loss in step.losses.items()} == {"generator": (2,), "l1": (2,)}
    torch.testing.assert_close(step.losses["l1"].mean(), of_net["l1"])
    assert torch.equal(step.predict()["images"], made)
    assert list(task.shown(batch)) == ["input", "output", "target"]


def test_pix2pix_predicts_without_targets_but_does_not_train():
    task = Pix2Pix(0, translator, judge_of(6), sgd, sgd, NonSaturating())
    alone = {"images": rand(1, 3, 9, 9), "ids": torch.arange(1)}
    step = task.step(alone)
    assert step.losses == {}
    assert step.predict()["images"].shape == (1, 3, 9, 9)
    with pytest.raises(ValueError, match="pix2pix needs pairs of images"):
        task.make(alone)
    shrinks = Pix2Pix(0, lambda _: nn.Conv2d(3, 3, 3), judge_of(6), sgd, sgd, NonSaturating())
    with pytest.raises(ValueError, match="Conv2d makes images of 3 x 7 x 7, and those of the data are of 3 x 9 x 9"):
        shrinks.make(pairs())
    with pytest.raises(ValueError, match="l1_weight must be at least 0, not -1"):
        Pix2Pix(0, translator, judge_of(6), sgd, sgd, NonSaturating(), l1_weight=-1)


def cyclegan(**arguments):
    torch.manual_seed(0)
    return CycleGAN(0, translator, judge_of(3), sgd, sgd, LeastSquares(), **arguments)


def collections():
    return {"images": rand(2, 3, 9, 9), "other_images": (rand(2, 3, 7, 8, seed=1) * 255).byte(), "ids": torch.arange(2)}


def test_cyclegan_minimises_what_the_paper_says():
    """Zhu et al. 2017, equations 1 to 3 with least squares, and section 5.2, for pixels in [-1, 1]."""
    task, batch = cyclegan(), collections()
    a, b = batch["images"], batch["other_images"] / 255
    to_a, to_b = task.net.a, task.net.b
    fake_b, fake_a = to_b(a), to_a(b)
    made = task.make(batch)
    losses = task.generator_losses(batch, made)
    adversarial = (task.discriminator.a(fake_a) - 1).square().mean() + (
        task.discriminator.b(fake_b) - 1
    ).square().mean()
    torch.testing.assert_close(losses["generator"], adversarial)
    cycle = F.l1_loss(2 * to_a(fake_b) - 1, 2 * a - 1) + F.l1_loss(2 * to_b(fake_a) - 1, 2 * b - 1)
    torch.testing.assert_close(losses["cycle"], 10 * cycle)
    same = F.l1_loss(2 * to_a(a) - 1, 2 * a - 1) + F.l1_loss(2 * to_b(b) - 1, 2 * b - 1)
    torch.testing.assert_close(losses["identity"], 5 * same)
    judged = task.discriminator_losses(batch, {name: images.detach() for name, images in made.items()})
    of_a = ((task.discriminator.a(a) - 1).square().mean() + task.discriminator.a(fake_a).square().mean()) / 2
    torch.testing.assert_close(judged["discriminator_a"], of_a)
    assert judged.keys() == {"discriminator_a", "discriminator_b"}
    assert torch.equal(task.step(batch).predict()["images"], fake_b)
    assert list(task.shown(batch)) == ["A", "A to B", "and back", "B", "B to A", "and back to B"]


def test_cyclegan_predicts_from_one_collection_and_takes_no_identity_where_it_has_no_weight():
    task, batch = cyclegan(identity_weight=0.0), collections()
    assert task.step(batch).losses.keys() == {"generator", "cycle"}
    assert "same_a" not in task.make(batch)
    del batch["other_images"]
    assert task.step(batch).losses == {}
    assert torch.equal(task.step(batch).predict()["images"], task.net.b(batch["images"]))
    with pytest.raises(ValueError, match="CycleGAN needs images of two kinds"):
        task.make(batch)
    with pytest.raises(ValueError, match="cycle_weight and identity_weight must be at least 0, not -1"):
        cyclegan(cycle_weight=-1)


def test_the_pool_gives_each_new_image_or_an_older_one_in_its_place():
    pool, random = ImagePool(4), torch.Generator().manual_seed(0)
    numbered = torch.arange(400.0).view(400, 1, 1, 1)
    given = torch.cat([pool(numbered[i : i + 2], random) for i in range(0, 400, 2)]).flatten()
    assert given[:4].tolist() == [0, 1, 2, 3]  # while it fills
    ages = torch.arange(400.0)[4:] - given[4:]
    assert (ages >= 0).all()
    assert 0.4 < (ages == 0).float().mean() < 0.6
    older = [number for number in given.tolist() if given.tolist().count(number) > 1]
    assert len(set(older)) <= 4  # what is taken leaves the pool: only what it was filled with is seen twice
    assert len(pool.images) == 4
    assert torch.equal(ImagePool(0)(numbered, random), numbered)
    with pytest.raises(ValueError, match="size of an image pool must be at least 0, not -1"):
        ImagePool(-1)


class Middle(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 3, 2, stride=2), nn.Sigmoid())

    def forward(self, images):
        return self.layers(images)


def inpainting(**arguments):
    torch.manual_seed(0)
    return Inpainting(10, Middle, judge_of(3), sgd, sgd, NonSaturating(), colour=(0.5, 0.4, 0.3), **arguments)


def test_the_context_encoder_minimises_what_the_paper_says_and_does_not_see_the_middle():
    """Pathak et al. 2016, equations 1 to 3, for pixels in [-1, 1]."""
    task = inpainting(adversarial_weight=0.25)
    batch = {"images": rand(2, 3, 16, 16), "ids": torch.arange(2)}
    truth = batch["images"][:, :, 4:12, 4:12]
    holed = task.holed(batch["images"])
    assert (holed[:, :, 4:12, 4:12] == torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)).all()
    made = task.net(holed)
    losses = task.generator_losses(batch, task.make(batch))
    torch.testing.assert_close(losses["l2"], 0.75 * F.mse_loss(2 * made - 1, 2 * truth - 1))
    torch.testing.assert_close(losses["generator"], 0.25 * F.softplus(-task.discriminator(made)).mean())
    filled = task.step(batch).predict()["images"]
    assert torch.equal(filled[:, :, 4:12, 4:12], made)
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[4:12, 4:12] = True
    assert torch.equal(filled[:, :, ~inside], batch["images"][:, :, ~inside])
    changed = {**batch, "images": torch.where(inside, 1 - batch["images"], batch["images"])}
    assert torch.equal(task.step(changed).predict()["images"][:, :, 4:12, 4:12], made)
    (metric,) = task.scores(None).values()
    metric.update({"images": filled}, batch)
    assert metric.compute().keys() >= {"PSNR", "L1", "L2", "mean_PSNR", "around_PSNR"}
    assert list(task.shown(batch)) == ["input", "output", "target"]


@pytest.mark.parametrize(
    ("size", "channels", "message"),
    [
        ((16, 18), 3, "images whose sides are multiples of 4, not 16 x 18"),
        ((16, 16), 1, "colour has 3 channels, and the images have 1"),
    ],
)
def test_images_whose_middle_cannot_be_filled_are_refused(size, channels, message):
    with pytest.raises(ValueError, match=message):
        inpainting().make({"images": torch.zeros(1, channels, *size), "ids": torch.arange(1)})


def test_wrong_weights_and_colours_of_inpainting_are_refused():
    with pytest.raises(ValueError, match=r"adversarial_weight must lie in \[0, 1\], not 2"):
        inpainting(adversarial_weight=2)
    with pytest.raises(ValueError, match=r"colour must be in \[0, 1\] by channel, not \[117, 104, 123\]"):
        Inpainting(10, Middle, judge_of(3), sgd, sgd, NonSaturating(), colour=(117, 104, 123))


@pytest.fixture
def tiny_features():
    torch.manual_seed(0)
    return ClassifierFeatures(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU()), "tiny")


def save_style(path, size=(12, 10)):
    pixels = (rand(size[1], size[0], 3, seed=5) * 255).byte().numpy()
    Image.fromarray(pixels).save(path)


def restyling(features, **arguments):
    layers = {"content_layers": ["3"], "style_layers": ["1", "3"]}
    return StyleTransfer(0, translator, sgd, features, "style.png", **{**layers, **arguments})


def test_style_transfer_minimises_what_the_paper_says_and_keeps_its_judge_to_itself(tiny_features):
    save_style("style.png")
    task = restyling(tiny_features, content_weight=2.0, style_weight=3.0, variation_weight=0.5)
    images = rand(2, 3, 9, 11)
    step = task.step({"images": images, "ids": torch.arange(2)})
    made, net = task.net(images), tiny_features.net
    painting = task.style_image[None]
    torch.testing.assert_close(step.losses["content_tiny"], 2 * content(net(made), net(images)))
    by_layer = [style(net[:n](made), gram(net[:n](painting))[0]) for n in (2, 4)]
    torch.testing.assert_close(step.losses["style_tiny"], 3 * (by_layer[0] + by_layer[1]))
    torch.testing.assert_close(step.losses["variation"], 0.5 * total_variation(made))
    assert torch.equal(step.predict()["images"], made)
    assert {name.split(".")[0] for name in task.state_dict()} == {"net"}
    assert not any(parameter.requires_grad for parameter in tiny_features.parameters())


def test_validation_before_training_does_not_spoil_it(tiny_features):
    save_style("style.png")
    task, batch = restyling(tiny_features), {"images": rand(1, 3, 9, 9), "ids": torch.arange(1)}
    with torch.inference_mode():
        task.step(batch)
    sum(loss.sum() for loss in task.step(batch).losses.values()).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in task.net.parameters())


def test_what_style_transfer_cannot_do_is_told(tiny_features):
    save_style("style.png")
    assert restyling(tiny_features, style_size=5).style_image.shape == (3, 5, 6)
    with pytest.raises(FileNotFoundError, match=r"there is no style image nowhere\.png"):
        StyleTransfer(0, translator, sgd, tiny_features, "nowhere.png")
    Path("noise.png").write_bytes(b"noise")
    with pytest.raises(ValueError, match=r"noise\.png is not a whole image"):
        StyleTransfer(0, translator, sgd, tiny_features, "noise.png")
    for wrong, message in (
        ({"content_layers": []}, "content_layers and style_layers must be at least one each"),
        ({"style_weight": -1.0}, r"style_weight must be at least 0, not -1\.0"),
    ):
        with pytest.raises(ValueError, match=message):
            restyling(tiny_features, **wrong)
    with pytest.raises(ValueError, match="there is no layer '9'; there are 0, 1, 2, 3"):
        restyling(tiny_features, style_layers=["9"]).step({"images": rand(1, 3, 9, 9), "ids": torch.arange(1)})
    shrinks = StyleTransfer(0, lambda _: nn.Conv2d(3, 3, 3), sgd, tiny_features, "style.png", ["3"], ["3"])
    with pytest.raises(ValueError, match="Conv2d makes images of 3 x 7 x 7 of those of 3 x 9 x 9"):
        shrinks.step({"images": rand(1, 3, 9, 9), "ids": torch.arange(1)})


def test_optimising_the_pixels_lowers_the_loss_of_the_paper(tiny_features):
    photograph, painting = rand(3, 12, 12), rand(3, 12, 10, seed=1).square()
    told = []
    layers = {"content_layers": ["3"], "style_layers": ["1", "3"]}
    image = restyle(
        photograph,
        painting,
        tiny_features,
        **layers,
        steps=15,
        progress=lambda *one: told.append(one),
        content_weight=1e-4,
    )
    assert 0 <= image.min() <= image.max() <= 1
    number, of_content, of_style = told[0]
    assert (number, of_content) == (0, 0.0)
    net = tiny_features.net
    expected = 0.0  # Gatys et al. 2016, equations 3 to 5, with sums of products that are not averaged
    for n in (2, 4):
        one, other = (net[:n](image[None])[0].flatten(1) for image in (photograph, painting))
        products, wanted = one @ one.T / one.shape[1], other @ other.T / other.shape[1]
        expected += float(((products - wanted) ** 2).sum()) / (4 * 8**2) / 2
    assert of_style == pytest.approx(expected, rel=1e-4)
    assert told[-1][2] + 1e-4 * told[-1][1] < 0.2 * of_style
    noise = restyle(photograph, painting, tiny_features, **layers, steps=2, start="noise")
    assert not torch.equal(
        noise, restyle(photograph, painting, tiny_features, **layers, steps=2, start="noise", seed=1)
    )
    with pytest.raises(ValueError, match="steps must be at least 1 and start content or noise, not 0 and 'content'"):
        restyle(photograph, painting, tiny_features, steps=0)
