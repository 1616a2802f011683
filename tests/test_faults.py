"""A full disk, a kill while saving, an impatient Ctrl-C and weights that are not finite cost no good checkpoint."""

import json
import random
import resource
import signal
import time
from pathlib import Path

import pytest
import torch

from conftest import in_child, wait_for
from saving import disk, kill_while_saving, only_root
from visionlab.callbacks.checkpoints import AtomicCheckpointIO
from visionlab.cli import main
from visionlab.run import Run, is_whole


def fit(recipe, *overrides):
    return main(["fit", "--config", str(recipe), "--trainer.logger", "false", *overrides])


def callback(name, **arguments):
    given = ", ".join(f"{key}: {value}" for key, value in arguments.items())
    return ["--trainer.callbacks+", f"{{class_path: stand_ins.{name}, init_args: {{{given}}}}}"]


def files_in(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def test_a_full_disk_spares_the_checkpoint_before(recipe, capfd):
    def child():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
        return fit(recipe, "--save_every_n_steps", "7", *callback("GrowsAt", step=25, size=300_000))

    assert wait_for(in_child(child)) == 1
    message = capfd.readouterr().err.splitlines()[-1]
    assert "the disk is full" in message
    assert message.endswith("the last good checkpoint is runs/tiny/0/checkpoints/last.ckpt")
    assert files_in("runs/tiny/0/checkpoints") == ["best.ckpt", "last.ckpt", "previous.ckpt"]
    last = Path("runs/tiny/0/checkpoints/last.ckpt")
    assert is_whole(last)
    assert torch.load(last, weights_only=True)["global_step"] == 21
    assert Run.open("runs/tiny/0").info["state"] == "failed"
    assert wait_for(in_child(lambda: fit(recipe, "--resume", "runs/tiny/0"))) == 0


def test_a_full_disk_before_the_first_checkpoint_is_told_too(recipe, capfd):
    def child():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        return fit(recipe, "--save_every_n_steps", "7")

    assert wait_for(in_child(child)) == 1
    message = capfd.readouterr().err.splitlines()[-1]
    assert "the disk is full" in message
    assert message.endswith("there is no checkpoint yet")


def test_ten_kills_while_saving_leave_a_whole_checkpoint_or_none(tmp_path):
    draw, target = random.Random(0), tmp_path / "checkpoints" / "last.ckpt"
    steps = [kill_while_saving(target, draw) for _ in range(10)]
    assert len(set(steps)) > 3  # kills fell at different times
    AtomicCheckpointIO().save_checkpoint({"step": -1}, target)
    assert files_in(target.parent) == ["last.ckpt"]  # what a kill left beside it is gone too


@only_root
def test_so_they_do_where_temporary_files_lie_on_another_disk(tmp_path):
    draw, target = random.Random(1), tmp_path / "checkpoints" / "last.ckpt"
    with disk(tmp_path / "temporary", 10_000) as temporary:
        steps = [kill_while_saving(target, draw, {"TMPDIR": str(temporary)}) for _ in range(10)]
        assert len(set(steps)) > 3
        assert files_in(temporary) == []  # nothing is written twice


@only_root
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_disk_that_fills_up_spares_the_checkpoint_before(recipe, capfd, elsewhere):
    """A neighbour takes the last kilobyte after step 25: nothing of any size can be written."""
    with disk("small", 2_000) as small, disk("temporary", 2_000) as temporary:
        words = ["--runs", str(small), "--save_every_n_steps", "7", *callback("FillsAt", step=25, path=small / "more")]
        environment = {"TMPDIR": str(temporary if elsewhere else small)}
        assert wait_for(in_child(lambda: fit(recipe, *words), environment)) == 1
        message = capfd.readouterr().err.splitlines()[-1]
        assert "the disk is full" in message
        run = small / "tiny" / "0"
        assert message.endswith(f"the last good checkpoint is {run}/checkpoints/last.ckpt")
        assert files_in(run / "checkpoints") == ["best.ckpt", "last.ckpt", "previous.ckpt"]
        assert is_whole(run / "checkpoints" / "last.ckpt")
        assert files_in(temporary) == []
        (small / "more").unlink()
        again = ["--runs", str(small), "--resume", str(run)]
        assert wait_for(in_child(lambda: fit(recipe, *again), environment)) == 0


def test_a_second_ctrl_c_ends_the_run_at_once(recipe, capfd):
    start = time.monotonic()
    status = wait_for(in_child(lambda: fit(recipe, "--save_every_n_steps", "7", *callback("CtrlCTwice", step=25))))
    assert status != 0
    assert time.monotonic() - start < 20  # the step takes a minute
    assert "again to stop at once" in capfd.readouterr().err
    last = Path("runs/tiny/0/checkpoints/last.ckpt")
    assert is_whole(last)
    assert torch.load(last, weights_only=True)["global_step"] == 21  # unsaved


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_validation_ends_the_run_saved(recipe, capfd, number):
    signalled = callback("SignalInValidation", epoch=1, number=int(number))
    assert wait_for(in_child(lambda: fit(recipe, *signalled))) == 128 + number
    assert "--resume runs/tiny/0" in capfd.readouterr().err
    run = Run.open("runs/tiny/0")
    assert run.info["state"] == "stopped"
    last = torch.load(run.checkpoints / "last.ckpt", weights_only=True)
    assert last["global_step"] == 36
    assert json.loads((run.folder / "results" / "val.json").read_text())  # validation was finished first
    assert not (run.folder / "results" / "test.json").exists()


def test_ctrl_c_outside_training_leaves_a_run_that_can_be_continued(recipe):
    words = ["fit", "--config", str(recipe), "--trainer.max_epochs", "1", "--trainer.logger", "false"]
    killer = ["--trainer.callbacks+", "stand_ins.CtrlCInTest"]
    assert wait_for(in_child(lambda: main([*words, *killer]))) == 128 + signal.SIGINT
    assert Run.open("runs/tiny/0").info["state"] == "stopped"
    assert wait_for(in_child(lambda: main([*words, "--resume", "runs/tiny/0"]))) == 0
    assert json.loads(Path("runs/tiny/0/results/test.json").read_text())["test/loss"] > 0


def test_weights_that_are_not_finite_are_never_saved(recipe, capfd):
    """The loss of the step is finite, its gradient is not."""
    net = ["--model.init_args.net", "stand_ins.InfiniteGradientAt", "--model.init_args.net.step", "20"]
    assert wait_for(in_child(lambda: fit(recipe, "--save_every_n_steps", "7", *net))) == 1
    message = capfd.readouterr().err.splitlines()[-1]
    assert "not finite" in message
    assert message.endswith("the last good checkpoint is runs/tiny/0/checkpoints/last.ckpt")
    for name in ("last", "previous", "best"):
        content = torch.load(f"runs/tiny/0/checkpoints/{name}.ckpt", weights_only=True)
        assert content["global_step"] <= 20
        assert all(value.isfinite().all() for value in content["state_dict"].values())
