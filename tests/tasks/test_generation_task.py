"""Generated images depend on their numbers alone, and what does not fit is told."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from test_gan import RECIPE

from conftest import in_child, wait_for
from small_gans import TinyDiscriminator, TinyGenerator
from visionlab.batch import PADDING
from visionlab.cli import main
from visionlab.losses.adversarial import NonSaturating
from visionlab.nets.resnet_gan import ConditionalResNetGenerator, ProjectionDiscriminator
from visionlab.tasks.generation import Generation, numbered_noise


def adam(parameters):
    return torch.optim.Adam(parameters)


def generation(net=TinyGenerator, discriminator=TinyDiscriminator, **arguments):
    return Generation(10, net, discriminator, adam, adam, NonSaturating(), **arguments).eval()


def conditional():
    return generation(
        lambda classes: ConditionalResNetGenerator(classes, 8, 1, width=4, latent=6),
        lambda classes: ProjectionDiscriminator(classes, 1, width=4),
        conditional=True,
    )


@torch.no_grad()
def test_an_image_is_that_of_its_number_whatever_is_generated_beside_it():
    task = generation()
    together, alone = task.generate_numbered([5, 0, 123456]), task.generate_numbered([0])
    assert together.shape == (3, 1, 8, 8)
    torch.testing.assert_close(together[1:2], alone)
    noise = numbered_noise(range(4000), 4)
    assert torch.equal(noise[17], numbered_noise([17], 4)[0])
    assert noise.mean(0).abs().max() < 0.1
    assert (noise.std(0) - 1).abs().max() < 0.05


@torch.no_grad()
def test_classes_take_turns_unless_one_is_asked_for():
    task = conditional()
    numbers = [3, 14, 7]
    turns = task.generate(numbered_noise(numbers, 6), torch.tensor([3, 4, 7]))
    torch.testing.assert_close(task.generate_numbered(numbers), turns)
    fives = task.generate(numbered_noise(numbers, 6), torch.tensor([5, 5, 5]))
    torch.testing.assert_close(task.generate_numbered(numbers, [5, 5, 5]), fives)


@torch.no_grad()
def test_a_walk_goes_from_number_to_number_along_great_circles():
    task, seen = generation(), []
    task.net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    images = task.walk([2, 9, 4], 10)
    assert images.shape == (20, 1, 8, 8)
    torch.testing.assert_close(images[[0, 10]], task.generate_numbered([2, 9]))
    first, second = (row.double() for row in numbered_noise([2, 9], 4))
    way = seen[0].double()
    lengths = first.norm() + (second.norm() - first.norm()) * torch.arange(10) / 10
    torch.testing.assert_close(way.norm(dim=1), lengths, rtol=1e-5, atol=1e-5)
    units = way / way.norm(dim=1, keepdim=True)
    steps = (units[1:] * units[:-1]).sum(1).clamp(-1, 1).arccos()
    whole = torch.dot(first / first.norm(), second / second.norm()).arccos()
    torch.testing.assert_close(steps, whole.expand(9) / 10, rtol=1e-3, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("samples", [None, 2, 5, 13])
def test_an_evaluation_makes_each_of_the_images_that_it_should_once(samples):
    class Few:
        monitor, mode = "fid", "min"

        def __init__(self):
            self.samples = samples

        def __call__(self, data):
            return {}

    task = generation(scores=Few())
    task._trainer = SimpleNamespace(testing=False, datamodule=SimpleNamespace(datasets={"val": range(5)}))
    found = {}
    for ids in ([0, 2, 4], [1, 3, PADDING]):  # two processes
        step = task.step({"images": torch.rand(3, 1, 8, 8), "ids": torch.tensor(ids)})
        assert {name: loss.shape for name, loss in step.losses.items()} == {"discriminator": (3,), "generator": (3,)}
        images = step.predict()["images"]
        numbers = (torch.tensor(ids) if step.ids is None else step.ids).tolist()
        assert len(images) == len(numbers)
        for number, image in zip(numbers, images, strict=True):
            if number != PADDING:
                assert number not in found
                found[number] = image
    assert sorted(found) == list(range(5 if samples is None else samples))
    for number, image in found.items():
        torch.testing.assert_close(image, task.generate_numbered([number])[0])


def test_what_does_not_fit_is_told():
    with pytest.raises(ValueError, match="TinyDiscriminator is no generator: it has no attribute latent"):
        generation(TinyDiscriminator)
    with pytest.raises(ValueError, match=r"makes images of 1 x 8 x 8, and those of the data are of 1 x 9 x 9"):
        generation().make({"images": torch.rand(2, 1, 9, 9), "ids": torch.arange(2)})
    with pytest.raises(ValueError, match="takes 4 latent numbers, not 5"):
        generation().generate(torch.zeros(2, 5))
    with pytest.raises(ValueError, match="there are 10 classes, and no class 10"):
        conditional().generate(torch.zeros(2, 6), torch.tensor([3, 10]))
    batch = {"images": torch.rand(2, 1, 8, 8), "labels": torch.zeros(2, 10), "ids": torch.arange(2)}
    with pytest.raises(ValueError, match="conditional generation needs data with one label an image"):
        conditional().make(batch)
    with pytest.raises(ValueError, match="n_critic must be at least 1, not 0"):
        generation(n_critic=0)


def fit_in_child(*words):
    Path("gan.yaml").write_text(RECIPE)
    return wait_for(in_child(lambda: main(["fit", "--config", "gan.yaml", "--trainer.logger", "false", *words])))


def test_images_of_another_size_than_the_datas_end_the_run_in_one_line(capfd):
    dcgan = ["--model.init_args.net", "visionlab.nets.dcgan.DCGANGenerator"]
    dcgan += ["--model.init_args.net.init_args.image_size=16", "--model.init_args.net.init_args.width=4"]
    assert fit_in_child(*dcgan) == 2
    assert (
        "makes images of 3 x 16 x 16, and those of the data are of 1 x 8 x 8" in capfd.readouterr().err.splitlines()[-1]
    )
    assert not list(Path().glob("runs/*/*"))


def test_a_run_leaves_pictures_a_film_and_a_generator_to_predict_with(capfd):
    assert fit_in_child() == 0
    pictures = Path("runs/gan/0/pictures")
    assert {path.name for path in pictures.glob("*.*")} >= {
        *("generated.png", "film.gif", "interpolations.png", "real_beside_generated.png", "train_samples.png"),
    }
    assert sorted(path.name for path in (pictures / "film").iterdir()) == [f"{8 * i:08}.png" for i in (1, 2, 3)]
    with Image.open(pictures / "film.gif") as film:
        assert (film.size, film.n_frames) == ((64, 64), 3)

    def predict(*words):
        return wait_for(in_child(lambda: main(["predict", "runs/gan/0", *words])))

    assert predict("--samples", "70", "--walk", "3", "--output", "many") == 0
    assert predict("--samples", "3", "--output", "few") == 0
    assert predict("--samples", "3", "--output", "raw", "--weights", "raw") == 0
    assert {path.name for path in Path("many").iterdir()} == {"samples", "grid.png", "walk.gif", "walk.png"}
    assert sorted(path.name for path in Path("many/samples").iterdir()) == [f"{i:06}.png" for i in range(70)]
    with Image.open("many/walk.gif") as walk:
        assert walk.n_frames == 3 * 24

    def third(folder):
        return np.asarray(Image.open(f"{folder}/samples/000002.png"), dtype=int)

    assert abs(third("many") - third("few")).max() <= 1
    assert abs(third("few") - third("raw")).max() > 1
    assert third("few").shape == (8, 8)
    for words, message in {
        ("--class", "3"): "this generator was not trained with classes",
        ("--class", "cat"): "there is no class 'cat'",
        ("--walk", "1"): "--walk must be at least 2",
        ("--samples", "0"): "--samples must be at least 1",
        ("many/samples",): "holds a generator, which is given no images",
    }.items():
        assert predict(*words) == 2
        assert message in capfd.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_without_scores_the_newest_weights_are_the_best_whatever_the_data_goes_by(mode):
    data = ["--data", "small_gans.DigitsByLoss", "--data.init_args.mode", mode]
    assert fit_in_child(*data) == 0
    kept = [torch.load(f"runs/gan/0/checkpoints/{name}.ckpt", weights_only=True) for name in ("best", "last")]
    assert kept[0]["global_step"] == kept[1]["global_step"] == 24
