"""What a generator makes, as files: a grid, a folder of samples, a walk through the latent space."""

from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from visionlab.callbacks.generated_pictures import to_uint8
from visionlab.pictures.films import save_film
from visionlab.pictures.grids import grid
from visionlab.tasks.generation import Generation

BATCH = 64
"""Images that are generated at once, which depends on nothing but the size of a sheet."""
STEPS = 24
"""Images from one stop of a walk to the next."""


@torch.inference_mode()
def write_samples(
    task: Generation, output: Path, samples: int, label: int | None, class_names: list[str], walk: int | None
) -> None:
    """Write ``samples/<number>.png``, ``grid.png`` of the first 64 and, for a walk, ``walk.gif`` and ``walk.png``.

    Args:
        task: in evaluation mode.
        output: the folder.
        samples: how many; those of a smaller number are among those of a greater.
        label: the class of all images, where the task is conditional; None for the classes in turn.
        class_names: by label.
        walk: the number of images that a walk goes between, back to the first at the end; None for no walk.

    Raises:
        ValueError: if a class is asked of a task that is not conditional.
    """
    if label is not None and not task.conditional:
        raise ValueError("--class: this generator was not trained with classes")
    folder = output / "samples"
    folder.mkdir(parents=True, exist_ok=True)
    for at in tqdm(range(0, samples, BATCH), unit="sheet", disable=None):
        numbers = range(at, min(at + BATCH, samples))
        labels = [i % task.num_classes if label is None else label for i in numbers]
        images = to_uint8(task.generate_numbered(numbers, labels if task.conditional else None))
        for number, image in zip(numbers, images, strict=True):
            Image.fromarray(image.squeeze()).save(folder / f"{number:06}.png")
        if at == 0:
            captions = [class_names[i] for i in labels] if task.conditional else None
            grid(images, captions=captions, cell=64).save(output / "grid.png")
    if walk is not None:
        way = [*range(walk), 0]
        shown = to_uint8(task.walk(way, 8, label))
        grid(shown, cell=64).save(output / "walk.png")
        frames = [Image.fromarray(image.squeeze()) for image in to_uint8(task.walk(way, STEPS, label))]
        larger = max(1, 128 // max(frames[0].size))
        size = (frames[0].width * larger, frames[0].height * larger)
        save_film([frame.resize(size, Image.Resampling.NEAREST) for frame in frames], output / "walk.gif", walk)
    print(f"{samples} images generated into {output}")
