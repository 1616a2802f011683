"""Tasks that are trained and tested under attack, through runs of a small classifier."""

import csv
import json
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from torch.nn import functional as F

from conftest import RECIPE, in_child, in_processes, wait_for
from stand_ins import FewDigits, PlainNet, TinyNet
from visionlab.attacks.pgd import PGD
from visionlab.cli import main
from visionlab.load import load
from visionlab.loggers import read_metrics
from visionlab.tasks.adversarial import Adversarial
from visionlab.tasks.adversarial_training import TRADES, Clean, Fast, Free, OnAttacked, overfitting
from visionlab.tasks.classification import Classification
from visionlab.tasks.segmentation import Segmentation

TASK = """
    task:
      class_path: visionlab.tasks.classification.Classification
      init_args:
        net: {class_path: stand_ins.TinyNet}
        optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 0.01}}
        lr_schedulers:
        - {scheduler: {class_path: torch.optim.lr_scheduler.CosineAnnealingLR, init_args: {T_max: 72}}, interval: step}
    attacks:
      pgd: {class_path: visionlab.attacks.pgd.PGD, init_args: {eps: 8/255, steps: 3}}
      still: {class_path: visionlab.attacks.fgsm.FGSM, init_args: {eps: 0}}
    val_attacks:
      fgsm: {class_path: visionlab.attacks.fgsm.FGSM, init_args: {eps: 8/255}}
    audited: 16
"""
RANDOM = "{class_path: visionlab.attacks.random_fgsm.RandomFGSM, init_args: {eps: 8/255}}"
WAYS = {
    "clean": "null",
    "pgd": f"{{class_path: visionlab.tasks.adversarial_training.OnAttacked, init_args: {{attack: {RANDOM}}}}}",
    "free": "{class_path: visionlab.tasks.adversarial_training.Free, init_args: {eps: 8/255, replays: 2}}",
    "fast": "{class_path: visionlab.tasks.adversarial_training.Fast, init_args: {eps: 8/255}}",
    "trades": f"{{class_path: visionlab.tasks.adversarial_training.TRADES, init_args: {{attack: {RANDOM}}}}}",
}


@pytest.fixture
def robust():
    start, end = RECIPE.index("  class_path"), RECIPE.index("data:")
    path = Path("robust.yaml")
    wrapped = "  class_path: visionlab.tasks.adversarial.Adversarial\n  init_args:" + TASK
    path.write_text(RECIPE[:start] + wrapped + RECIPE[end:])
    return path


def fit(recipe, *words, way="clean"):
    training = [] if "tiny" in str(recipe) else ["--model.init_args.training", WAYS[way]]
    return main(["fit", "--config", str(recipe), "--trainer.logger", "false", *training, *words])


def weights(run):
    state = torch.load(Path(run) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return {name: value for name, value in state.items() if name.startswith("net.")}


def results(run):
    return json.loads((Path(run) / "results" / "test.json").read_text())


def table(run):
    with (Path(run) / "per_image" / "test.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_wrapped_task_trains_and_scores_as_it_does_alone_and_is_scored_under_attack_too(robust, recipe, capsys):
    short = ["--trainer.max_epochs", "2"]
    assert fit(recipe, *short) == 0
    assert fit(robust, *short) == 0
    alone, wrapped = weights("runs/tiny/0"), weights("runs/robust/0")
    assert alone.keys() == wrapped.keys()
    assert all(torch.equal(value, wrapped[name]) for name, value in alone.items())
    said = capsys.readouterr().out
    best = torch.load("runs/robust/0/checkpoints/best.ckpt", weights_only=True)["state_dict"]
    found, rows = results("runs/robust/0"), table("runs/robust/0")
    if all(torch.equal(best[name], value) for name, value in alone.items()):
        assert {name: found[name] for name in results("runs/tiny/0")} == results("runs/tiny/0")
    for name in ("top1", "nll", "ece"):
        assert found[f"test/still/single_label/{name}"] == found[f"test/single_label/{name}"]
    assert found["test/still/linf"] == 0
    assert found["test/pgd/single_label/top1"] <= found["test/single_label/top1"]
    assert found["test/pgd/loss"] > found["test/loss"]
    assert 0 < found["test/pgd/linf"] <= 8 / 255 + 1e-6
    right = [row["correct_under_pgd"] == "True" for row in rows]
    assert sum(right) / len(right) == found["test/pgd/single_label/top1"]
    assert [row["nll"] for row in rows] == [row["nll_under_still"] for row in rows]
    assert "audit of PGD(eps='8/255'" in said
    assert found["test/audit/attack"] <= found["test/audit/clean"]
    assert Path("runs/robust/0/pictures/test_worst.png").exists()
    validated = read_metrics(Path("runs/robust/0/metrics.csv"))
    assert validated.keys() >= {"val/single_label/top1", "val/fgsm/single_label/top1"}
    assert not any("audit" in name or "pgd" in name for name in validated if name.startswith("val/"))


def test_a_run_predicts_as_the_task_that_was_wrapped(robust):
    assert fit(robust, "--trainer.max_epochs", "1", way="pgd") == 0
    assert type(load("runs/robust/0").task) is Classification


@pytest.mark.slow
@pytest.mark.parametrize("way", ["free", "pgd", "fast", "trades"])
def test_a_run_that_was_stopped_continues_to_equal_bits(robust, way):
    short = ["--trainer.max_epochs", "2", "--trainer.limit_test_batches", "1"]
    assert fit(robust, *short, "--runs", "straight", way=way) == 0
    assert fit(robust, *short, "--trainer.max_steps", "25", way=way) == 0
    assert fit(robust, *short, "--trainer.max_steps", "-1", "--resume", "runs/robust/0", way=way) == 0
    straight, continued = weights("straight/robust/0"), weights("runs/robust/0")
    assert all(torch.equal(value, continued[name]) for name, value in straight.items())


@pytest.mark.slow
def test_robust_metrics_are_the_same_in_one_two_and_three_processes(robust):
    assert wait_for(in_child(lambda: fit(robust, "--trainer.max_epochs", "1"))) == 0
    best = str(Path("runs/robust/0/checkpoints/best.ckpt").absolute())

    def test(world):
        parallel = ["--trainer.devices", str(world), "--trainer.strategy", "ddp", "--runs", f"world{world}"]
        words = ["--config", str(robust), "--ckpt_path", best, "--data.init_args.eval_batch_size", "7", *parallel]
        return main(["test", *words, "--trainer.logger", "false"])

    for world in (1, 2, 3):
        assert in_processes(lambda: test(world), world) == [0] * world  # noqa: B023
    one, two, three = (results(f"world{world}/robust/0") for world in (1, 2, 3))
    assert "test/pgd/single_label/top1" in one
    exact = [name for name in one if name.endswith(("top1", "top5")) or "/audit/" in name]
    assert [one[name] for name in exact] == [two[name] for name in exact] == [three[name] for name in exact]
    assert two == pytest.approx(one, abs=1e-5)
    assert three == pytest.approx(one, abs=1e-5)


def batch_of(images=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "images": torch.rand(images, 1, 8, 8, generator=generator),
        "labels": torch.arange(images) % 10,
        "ids": torch.arange(images),
    }


def classification(net=PlainNet, classes=10):
    torch.manual_seed(0)
    return Classification(classes, net, lambda parameters: torch.optim.SGD(parameters, 0.1))


def test_training_on_attacked_images_attacks_in_evaluation_mode_and_learns_in_training_mode():
    task, batch = classification(TinyNet), batch_of()
    seen = []
    task.net.register_forward_hook(lambda net, args, output: seen.append((net.training, args[0].detach().clone())))
    step = OnAttacked(PGD("8/255", steps=2))(task, batch, 5, 0)
    step.losses["cross_entropy"].mean().backward()
    assert [training for training, _ in seen] == [False, False, True]
    moved = seen[-1][1]
    assert 0 < (moved - batch["images"]).abs().max() <= 8 / 255 + 1e-6
    assert all(parameter.grad is not None for parameter in task.parameters())
    OnAttacked(PGD("8/255", steps=2))(task, batch, 6, 0)
    assert not torch.equal(seen[3][1], seen[0][1])  # another step, another start


def test_free_training_follows_the_gradient_of_the_step_before():
    task, batch = classification(), batch_of()
    way, seen = Free("8/255", replays=3), []
    task.net.register_forward_hook(lambda net, args, output: seen.append(args[0]))
    for replay in range(3):
        step = way(task, batch, 7, replay)
        step.losses["cross_entropy"].mean().backward()
    starts = [(one.detach() - batch["images"]) for one in seen]
    assert all(start.abs().max() <= 8 / 255 + 1e-6 for start in starts)
    images = seen[0].detach().requires_grad_()
    loss = F.cross_entropy(task.net(images), batch["labels"])
    (gradient,) = torch.autograd.grad(loss, images)
    inside = (batch["images"] > 8 / 255) & (batch["images"] < 1 - 8 / 255)
    expected = (starts[0] + 8 / 255 * gradient.sign()).clamp(-8 / 255, 8 / 255)
    torch.testing.assert_close(starts[1][inside], expected[inside])


def test_each_replay_is_an_optimizer_step(robust):
    once = ["--trainer.max_steps", "4", "--trainer.limit_test_batches", "1"]
    assert fit(robust, *once, way="free") == 0
    optimizer = torch.load("runs/robust/0/checkpoints/last.ckpt", weights_only=True)["optimizer_states"][0]
    assert {int(state["step"]) for state in optimizer["state"].values()} == {8}
    assert fit(robust, *once, "--trainer.accumulate_grad_batches", "2", way="free") == 2


def test_trades_adds_the_divergence_of_the_probabilities():
    task, batch = classification(), batch_of()
    seen = []
    task.net.register_forward_hook(lambda net, args, output: seen.append(args[0].detach().clone()))
    step = TRADES(PGD("8/255", steps=3), beta=2.0)(task, batch, 3, 0)
    moved = seen[-1]
    clean, robust = (task.net(images).softmax(1) for images in (batch["images"], moved))
    torch.testing.assert_close(
        step.losses["divergence"], 2 * (clean * (clean / robust).log()).sum(1), atol=1e-5, rtol=1e-3
    )
    torch.testing.assert_close(step.losses["cross_entropy"], -clean.log()[torch.arange(8), batch["labels"]])
    noise = PGD("8/255", steps=1, step_size=0, seed=3)
    task.zero_grad()
    started = TRADES(noise, beta=2.0)(task, batch, 3, 0)
    assert step.losses["divergence"].sum() > started.losses["divergence"].sum()
    segmentation = Segmentation(2, PlainNet, lambda parameters: torch.optim.SGD(parameters, 0.1))
    with pytest.raises(ValueError, match="TRADES trains classifiers of one label an image, not Segmentation"):
        TRADES(noise)(segmentation, batch, 0, 0)


@pytest.mark.slow
def test_catastrophic_overfitting_is_told(robust, monkeypatch):
    assert [overfitting(*pair) for pair in [(0.8, 0.0), (0.5, 0.2), (0.5, 0.45), (0.1, 0.0)]] == [
        True,
        True,
        False,
        False,
    ]
    once = ["--trainer.max_epochs", "2", "--trainer.limit_test_batches", "1"]
    assert fit(robust, *once, way="fast") == 0
    logged = read_metrics(Path("runs/robust/0/metrics.csv"))
    assert len(logged["train/accuracy_under_one_step"][0]) == len(logged["train/accuracy_under_many_steps"][0]) == 2
    monkeypatch.setattr("visionlab.tasks.adversarial.overfitting", lambda one, many: True)
    with pytest.warns(UserWarning, match="catastrophic overfitting: in epoch 0 a training batch is classified"):
        fit(robust, *once, way="fast")


def adversarial(**arguments):
    return Adversarial(10, lambda classes: classification(classes=classes), **arguments)


def test_by_hand_inference_mode_is_refused_and_without_it_a_test_runs():
    task = adversarial(attacks={"pgd": PGD("8/255", steps=1)}, audited=8)
    quiet = {"logger": False, "enable_progress_bar": False, "accelerator": "cpu", "enable_model_summary": False}
    with pytest.raises(ValueError, match=r"use Trainer\(inference_mode=False\)"):
        Trainer(**quiet).test(task, FewDigits(), verbose=False)
    Trainer(**quiet, inference_mode=False).test(task, FewDigits(), verbose=False)
    assert task.results["test"]["test/pgd/single_label/top1"] <= task.results["test"]["test/single_label/top1"]


def test_half_precision_is_refused(robust, capsys):
    assert fit(robust, "--trainer.precision", "bf16-true", way="pgd") == 2
    assert "images are attacked in float32" in capsys.readouterr().err
    assert fit(robust, "--trainer.precision", "bf16-mixed", "--trainer.max_epochs", "1", way="pgd") == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: adversarial(attacks={}), "which attacks"),
        (lambda: adversarial(attacks={"pgd": PGD(0.1)}, audited=0), "audited must be at least 1, not 0"),
        (lambda: Free("8/255", replays=0), "replays must be at least 1, not 0"),
        (lambda: Free(8), "is 8/255 meant"),
        (lambda: Fast(8), "is 8/255 meant"),
        (lambda: TRADES(PGD(0.1), beta=-1), "beta must be at least 0, not -1"),
    ],
)
def test_mistaken_arguments_say_what_is_expected(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_attack_cannot_have_the_name_of_a_protocol(robust, capsys):
    named = "{single_label: {class_path: visionlab.attacks.fgsm.FGSM, init_args: {eps: 8/255}}}"
    assert fit(robust, "--model.init_args.val_attacks", named) == 2
    assert "needs another name than 'single_label'" in capsys.readouterr().err


def test_without_a_way_of_training_it_is_clean():
    assert isinstance(adversarial(attacks={"pgd": PGD(0.1)}).method, Clean)
