"""``visionlab attack``: what is left of a run's metrics under attack, and whether that can be believed."""

import argparse
from pathlib import Path

import yaml

from visionlab.cli.options import require_checkpoint
from visionlab.run import Run

ATTACKS = {
    "fgsm": ("visionlab.attacks.fgsm.FGSM", "one step (Goodfellow et al. 2015)"),
    "random_fgsm": ("visionlab.attacks.random_fgsm.RandomFGSM", "one step from a random start (Wong et al. 2020)"),
    "bim": ("visionlab.attacks.bim.BIM", "small steps from the image (Kurakin et al. 2017)"),
    "pgd": ("visionlab.attacks.pgd.PGD", "small steps from random starts (Madry et al. 2018)"),
    "apgd": ("visionlab.attacks.apgd.APGD", "steps that adapt (Croce and Hein 2020)"),
    "autoattack": ("visionlab.attacks.autoattack.AutoAttack", "the standard ensemble (Croce and Hein 2020)"),
    "fab": ("visionlab.attacks.fab.FAB", "the nearest image that fools (Croce and Hein 2020)"),
    "square": ("visionlab.attacks.square.Square", "random squares, no gradient (Andriushchenko et al. 2020)"),
    "deepfool": ("visionlab.attacks.deepfool.DeepFool", "the nearest (Moosavi-Dezfooli et al. 2016)"),
    "cw": ("visionlab.attacks.carlini_wagner.CarliniWagner", "the nearest by L2 (Carlini and Wagner 2017)"),
    "segpgd": ("visionlab.attacks.segpgd.SegPGD", "PGD on segmentation (Gu et al. 2022)"),
    "patch": ("visionlab.attacks.patch.Patch", "a square of any pixels, no --eps (Brown et al. 2017)"),
    "mi_fgsm": ("visionlab.attacks.mi_fgsm.MIFGSM", "steps with momentum (Dong et al. 2018)"),
}

LOSSES = {
    "class": "cross-entropy of the class (classifiers)",
    "margin": "margin of the class (classifiers)",
    "dlr": "difference of logits ratio (classifiers)",
    "own": "what the task is trained by",
    "vanish": "objects vanish (detectors)",
    "appear": "objects appear (detectors)",
    "change_class": "objects are taken for others (detectors)",
    "pixels": "cross-entropy of the pixels (segmentation)",
}

HELP = f"""usage: visionlab attack RUN [--attack NAME] [--eps 8/255] [--KEY VALUE ...] [--curve LIST] [--images N]

Attacks the images of the test split before a run's best weights, or those of a checkpoint, see them, and prints the
metrics of both, side by side; then, in an audit, whether the numbers can be believed. RUN/attacks/<n>/ is left with
results.json, per_image.csv, audit.txt and attacked.png: images, what was added to them, and what came of them.

  --attack NAME     {(chr(10) + 20 * " ").join(f"{name:<14}{about}" for name, (_, about) in ATTACKS.items())}
                    or the path of a class (pgd)
  --eps, --KEY      the arguments of the attack: --eps 8/255 --steps 20 --norm l2; budgets count in images of [0, 1]
  --loss NAME       what is raised, if not class for classifiers of one label and own for others:
                    {(chr(10) + 20 * " ").join(f"{name:<14}{about}" for name, about in LOSSES.items())}
  --curve LIST      attack with these budgets too, as 0,2/255,8/255: curve.csv and curve.png
  --images N        only the first N images
  --audited N       images that the audit tries other attacks on (64)
  --split SPLIT     val or test (test, where it has labels)
  --name NAME       of the folder in RUN/attacks, instead of a number
  --ckpt_path FILE  other weights than the run's best
"""


def main(argv: list[str]) -> int:
    """Run ``visionlab attack``; returns the exit status."""
    if {"-h", "--help"} & set(argv):
        print(HELP, end="")
        return 0
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, prog="visionlab attack")
    parser.add_argument("run", type=Path)
    parser.add_argument("--attack", default="pgd")
    parser.add_argument("--loss", choices=LOSSES)
    parser.add_argument("--curve")
    parser.add_argument("--images", type=int)
    parser.add_argument("--audited", type=int, default=64)
    parser.add_argument("--split", choices=("val", "test"))
    parser.add_argument("--name")
    parser.add_argument("--ckpt_path")
    options, words = parser.parse_known_args(argv[1:])
    run = Run.open(options.run)
    for name in ("images", "audited"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name} must be at least 1, not {value}")
    if "." not in options.attack and options.attack not in ATTACKS:
        raise ValueError(f"there is no attack {options.attack!r}; there are {', '.join(ATTACKS)}")
    if options.name is not None and Path(options.name).name != options.name:
        raise ValueError(f"--name must be the name of a folder, not {options.name!r}")
    arguments = read_arguments(words)
    checkpoint = require_checkpoint(str(run.best) if options.ckpt_path is None else options.ckpt_path)

    from visionlab.cli.attack_run import Request, attack_run

    path = ATTACKS[options.attack][0] if options.attack in ATTACKS else options.attack
    request = Request(
        name=options.attack.rsplit(".", 1)[-1],
        class_path=path,
        arguments=arguments,
        loss=options.loss,
        curve=[] if options.curve is None else [word.strip() for word in options.curve.split(",")],
        images=options.images,
        audited=options.audited,
        split=options.split,
        folder=options.name,
    )
    attack_run(run, checkpoint, request)
    return 0


def read_arguments(words: list[str]) -> dict[str, object]:
    """``--KEY VALUE`` pairs, the values as in YAML.

    Raises:
        ValueError: if there is anything else.
    """
    arguments: dict[str, object] = {}
    left = list(words)
    while left:
        key = left.pop(0)
        if not key.startswith("--") or not left:
            raise ValueError(f"expected --KEY VALUE, arguments of the attack, not {key!r}")
        arguments[key.removeprefix("--")] = yaml.safe_load(left.pop(0))
    return arguments
