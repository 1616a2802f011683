"""A run that was killed, stopped or damaged goes on as if nothing had happened."""

import shutil
import signal
from pathlib import Path

import pytest
import torch

from conftest import RECIPE, in_child, in_processes, wait_for
from kills import SAVED_EVERY, Kills
from visionlab.cli import main
from visionlab.run import Run, is_whole

SLOW = pytest.mark.slow


def fit(recipe, *overrides):
    return main(["fit", "--config", str(recipe), "--save_every_n_steps", "7", "--trainer.logger", "false", *overrides])


def fit_in_child(recipe, *overrides):
    return wait_for(in_child(lambda: fit(recipe, *overrides)))


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("straight")
    path = folder / "tiny.yaml"
    path.write_text(RECIPE)
    assert fit_in_child(path, *noting(folder / "noted"), "--runs", str(folder)) == 0
    return folder


def noting(path):
    return ["--trainer.callbacks+", f"{{class_path: stand_ins.NoteImages, init_args: {{path: {path}}}}}"]


def weights(run):
    return torch.load(Path(run) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def table(run):
    return (Path(run) / "metrics.csv").read_text()


def kill_at(step, number=signal.SIGKILL):
    arguments = f"{{step: {step}, number: {int(number)}}}"
    return ["--trainer.callbacks+", f"{{class_path: stand_ins.SignalAt, init_args: {arguments}}}"]


def assert_same_end(one, other):
    for name, value in weights(one).items():
        assert torch.equal(value, weights(other)[name]), name
    assert table(one) == table(other)


# steps 18, 36, ... end an epoch; 7, 14, ... are saved
@pytest.mark.parametrize(
    ("step", "workers"),
    [*((5, 0), (18, 0), (33, 2), (54, 0)), *(pytest.param(step, 0, marks=SLOW) for step in (16, 19, 33, 35, 36, 71))],
)
def test_killed_and_continued_to_equal_bits(recipe, straight, step, workers):
    loading = ["--data.init_args.num_workers", str(workers)]
    killed = fit_in_child(recipe, *loading, *kill_at(step))
    assert killed == -signal.SIGKILL
    assert Run.open("runs/tiny/0").info["state"] == "running"
    assert fit_in_child(recipe, *loading, "--resume", "runs/tiny/0") == 0
    assert_same_end(straight / "tiny/0", "runs/tiny/0")


# after the end of an epoch was saved, and within one
@pytest.mark.parametrize("step", [19, *(pytest.param(step, marks=SLOW) for step in (33, 37))])
def test_so_it_is_where_the_steps_are_given(recipe, straight, step):
    recipe.write_text(recipe.read_text().replace("max_epochs: 4", "max_steps: 72"))
    assert fit_in_child(recipe, *kill_at(step)) == -signal.SIGKILL
    assert fit_in_child(recipe, "--resume", "runs/tiny/0") == 0
    assert_same_end(straight / "tiny/0", "runs/tiny/0")


def test_a_continued_run_takes_the_number_of_threads_it_was_saved_with(recipe, straight):
    fit_in_child(recipe, *kill_at(33))

    def with_two_threads():
        torch.set_num_threads(2)
        return fit(recipe, "--resume", "runs/tiny/0")

    assert wait_for(in_child(with_two_threads)) == 0
    assert_same_end(straight / "tiny/0", "runs/tiny/0")


def test_a_number_of_threads_that_is_asked_for_wins(recipe):
    last = Path("runs/tiny/0/checkpoints/last.ckpt")
    assert fit_in_child(recipe, *kill_at(20)) == -signal.SIGKILL
    saved = torch.load(last, weights_only=True)
    saved["visionlab"]["processes"][0]["threads"] = 2
    torch.save(saved, last)
    assert fit_in_child(recipe, "--threads", "1", "--resume", "runs/tiny/0") == 0
    assert torch.load(last, weights_only=True)["visionlab"]["processes"][0]["threads"] == 1


def test_accumulated_gradients_are_continued_to_equal_bits(recipe):
    accumulate = ["--trainer.accumulate_grad_batches", "4", "--save_every_n_steps", "3"]
    assert fit_in_child(recipe, *accumulate, "--runs", "straight") == 0
    assert fit_in_child(recipe, *accumulate, *kill_at(9)) == -signal.SIGKILL
    assert fit_in_child(recipe, *accumulate, "--resume", "runs/tiny/0") == 0
    assert_same_end("straight/tiny/0", "runs/tiny/0")


def killed_in(hook):
    return ["--trainer.callbacks+", f"{{class_path: stand_ins.KilledIn, init_args: {{hook: {hook}}}}}"]


@pytest.mark.parametrize(
    ("words", "killer"),
    [
        pytest.param([], killed_in("on_validation_end"), id="as validation ended", marks=SLOW),
        pytest.param(["--trainer.val_check_interval", "9"], kill_at(13), id="after one within an epoch"),
        pytest.param([], killed_in("on_test_end"), id="as the closing test ended", marks=SLOW),
    ],
)
def test_what_is_evaluated_again_stands_in_the_table_once(recipe, words, killer):
    short = [*words, "--trainer.max_epochs", "2", "--save_every_n_steps", "50"]
    assert fit_in_child(recipe, *short, "--runs", "straight") == 0
    assert fit_in_child(recipe, *short, *killer) == -signal.SIGKILL
    assert fit_in_child(recipe, *short, "--resume", "runs/tiny/0") == 0
    assert_same_end("straight/tiny/0", "runs/tiny/0")
    assert fit_in_child(recipe, *short, "--resume", "runs/tiny/0") == 0  # only the test is left to do
    assert_same_end("straight/tiny/0", "runs/tiny/0")


def test_a_run_that_was_killed_as_training_ended_is_tested(recipe, capfd):
    short = ["--trainer.max_epochs", "1"]
    assert fit_in_child(recipe, *short, *killed_in("on_train_end")) == -signal.SIGKILL
    assert not Path("runs/tiny/0/results/train.json").exists()
    assert fit_in_child(recipe, *short, "--resume", "runs/tiny/0") == 0
    assert Path("runs/tiny/0/results/test.json").exists()
    assert Run.open("runs/tiny/0").info["state"] == "finished"
    assert "run folder: runs/tiny/0" in capfd.readouterr().out


@pytest.mark.parametrize("left", [b"step,ep", *(pytest.param(left, marks=SLOW) for left in (b"", b"\0" * 300))])
def test_a_table_that_a_power_loss_left_is_no_obstacle(recipe, left):
    short = ["--trainer.max_epochs", "2"]
    assert fit_in_child(recipe, *short, "--runs", "straight") == 0
    assert fit_in_child(recipe, *short, *kill_at(20)) == -signal.SIGKILL
    Path("runs/tiny/0/metrics.csv").write_bytes(left)
    assert fit_in_child(recipe, *short, "--resume", "runs/tiny/0") == 0
    header, *rows = table("straight/tiny/0").splitlines(keepends=True)
    assert table("runs/tiny/0") == header + "".join(row for row in rows if int(row.split(",")[0]) > 18)


def test_what_is_no_run_keeps_no_other_from_being_continued(recipe, capfd):
    assert fit_in_child(recipe, *kill_at(20)) == -signal.SIGKILL
    shutil.copytree("runs/tiny/0", "runs/tiny/good")
    shutil.copytree("runs/tiny/0", "runs/tiny/1")
    Path("runs/tiny/1/run.json").write_text("")
    shutil.copytree("runs/tiny/0", "runs/tiny/2")
    Path("runs/tiny/2/config.yaml").write_text("")
    assert fit_in_child(recipe, *kill_at(20), "--resume", "auto") == -signal.SIGKILL
    said = capfd.readouterr().err
    assert "continuing runs/tiny/0 from last.ckpt" in said
    assert "visionlab: passing over runs/tiny/1: runs/tiny/1/run.json is damaged" in said
    assert "visionlab: passing over runs/tiny/2: " in said


def test_a_checkpoint_of_finished_training_is_tested_in_a_folder_of_its_own(recipe, straight):
    given = straight / "tiny" / "0" / "checkpoints" / "last.ckpt"
    shutil.copyfile(given, "copy.ckpt")
    assert fit_in_child(recipe, "--resume", "copy.ckpt") == 0
    assert Path("runs/tiny/0/results/test.json").exists()
    assert all(torch.equal(value, weights("runs/tiny/0")[name]) for name, value in weights(straight / "tiny/0").items())
    assert main(["test", "runs/tiny/0"]) == 0


def test_every_image_of_the_interrupted_epoch_is_seen_once(recipe, straight):
    fit_in_child(recipe, *noting("killed"), *kill_at(33))
    fit_in_child(recipe, *noting("continued"), "--resume", "runs/tiny/0")
    continued = Path("continued.0").read_text().splitlines()
    noted = (straight / "noted.0").read_text().splitlines()
    assert continued == noted[28:]  # the newest checkpoint before step 33 is that of step 28
    ids = [int(i) for line in noted[18:36] for i in line.split()[2:]]
    assert len(ids) == len(set(ids)) == 288


def test_resuming_automatically_finds_the_unfinished_run_with_the_same_configuration(recipe):
    fit_in_child(recipe, *kill_at(20))
    changed = "--data.init_args.batch_size"
    fit_in_child(recipe, changed, "8", "--trainer.max_steps", "3")
    assert (
        fit_in_child(recipe, changed, "8", "--trainer.max_steps", "3", "--resume", "auto") == 0
    )  # finished: starts anew
    assert sorted(p.name for p in Path("runs/tiny").iterdir()) == ["0", "1", "2"]
    assert Run.open("runs/tiny/2").info["state"] == "finished"
    with_the_killer = kill_at(20)
    status = fit_in_child(recipe, *with_the_killer, "--resume", "auto")
    assert status == -signal.SIGKILL  # from step 18 again to step 20
    assert sorted(p.name for p in Path("runs/tiny").iterdir()) == ["0", "1", "2"]


def test_the_run_of_a_cluster_job_is_found_by_its_job(recipe, monkeypatch):
    one = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "LOCAL_WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1"}
    for name, value in {**one, "MASTER_PORT": 0, "TORCHELASTIC_RUN_ID": "job-7"}.items():
        monkeypatch.setenv(name, str(value))
    fit_in_child(recipe, *kill_at(20))
    assert fit_in_child(recipe, "--resume", "auto", "--trainer.max_epochs", "2") == 0
    assert [p.name for p in Path("runs/tiny").iterdir()] == ["0"]
    assert Run.open("runs/tiny/0").info["job"] == "torchrun-job-7"


def test_ctrl_c_saves_and_says_how_to_go_on(recipe, straight, capfd):
    status = fit_in_child(recipe, *kill_at(33, signal.SIGINT))
    assert status == 128 + signal.SIGINT
    assert "--resume runs/tiny/0" in capfd.readouterr().err
    assert not Path("runs/tiny/0/results/test.json").exists()  # no closing test after Ctrl-C
    run = Run.open("runs/tiny/0")
    assert run.info["state"] == "stopped"
    assert is_whole(run.checkpoints / "last.ckpt")
    assert fit_in_child(recipe, "--resume", "runs/tiny/0") == 0
    assert_same_end(straight / "tiny/0", "runs/tiny/0")


@pytest.mark.parametrize("step", [17, 18])
def test_termination_at_the_end_of_an_epoch_is_exact_too(recipe, straight, step):
    assert fit_in_child(recipe, *kill_at(step, signal.SIGTERM)) == 128 + signal.SIGTERM
    assert fit_in_child(recipe, "--resume", "runs/tiny/0") == 0
    assert_same_end(straight / "tiny/0", "runs/tiny/0")


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "cut":
        content = content[: len(content) // 2]
    elif how == "empty":
        content = bytearray()
    else:
        content[content.index(b"data/0") + 200] ^= 1
    path.unlink()  # best.ckpt may be another name of the same file
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["cut", "flipped", pytest.param("empty", marks=SLOW)])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(recipe, straight, how, capfd):
    fit_in_child(recipe, *kill_at(33))
    damage(Path("runs/tiny/0/checkpoints/last.ckpt"), how)
    assert fit_in_child(recipe, "--resume", "runs/tiny/0") == 0
    assert "last.ckpt is damaged" in capfd.readouterr().err
    assert_same_end(straight / "tiny/0", "runs/tiny/0")


def test_explicit_arguments_win_over_the_checkpoint(recipe):
    halve = ["--model.init_args.optimizer.init_args.lr", "0.005"]
    fit_in_child(recipe, *kill_at(20))
    shutil.copytree("runs/tiny/0", "copy/tiny/0")
    assert fit_in_child(recipe, "--resume", "runs/tiny/0") == 0
    assert (
        fit_in_child(
            recipe, *halve, "--model.init_args.optimizer.init_args.weight_decay", "0", "--resume", "copy/tiny/0"
        )
        == 0
    )

    def rates(run):
        return {row.split(",")[0]: float(row.split(",")[3]) for row in table(run).splitlines() if ",train/lr," in row}

    old, new = rates("runs/tiny/0"), rates("copy/tiny/0")
    assert all(
        new[step] == pytest.approx(old[step] * (0.5 if int(step) > 18 else 1), rel=1e-6, abs=1e-9) for step in old
    )
    last = torch.load("copy/tiny/0/checkpoints/last.ckpt", weights_only=True)
    assert last["optimizer_states"][0]["param_groups"][0]["weight_decay"] == 0


def test_a_changed_schedule_wins_too(recipe):
    fit_in_child(recipe, *kill_at(20))
    longer = recipe.with_name("longer.yaml")
    longer.write_text(recipe.read_text().replace("T_max: 72", "T_max: 144"))
    assert fit_in_child(longer, "--resume", "runs/tiny/0") == 0
    state = torch.load("runs/tiny/0/checkpoints/last.ckpt", weights_only=True)["lr_schedulers"][0]
    assert state["T_max"] == 144
    assert state["last_epoch"] == 72


def test_another_number_of_schedules_cannot_continue_a_run(recipe, capfd):
    fit_in_child(recipe, *kill_at(20))
    assert fit_in_child(recipe, "--resume", "runs/tiny/0", "--model.init_args.lr_schedulers", "[]") == 2
    assert "the run was saved with 1 schedulers, not 0: start a new one" in capfd.readouterr().err
    assert is_whole(Path("runs/tiny/0/checkpoints/last.ckpt"))


def seen_by_two(path):
    halves = zip(*(Path(f"{path}.{rank}").read_text().splitlines() for rank in (0, 1)), strict=True)
    return [set(a.split()[2:]) | set(b.split()[2:]) for a, b in halves]


def seen_by_one(path):
    return [set(line.split()[2:]) for line in Path(f"{path}.0").read_text().splitlines()]


TWO = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]


@pytest.mark.parametrize("batch_size", ["8", pytest.param("16", marks=SLOW)])  # of each of two, or of the one
def test_one_process_goes_on_with_what_two_began(recipe, straight, batch_size, capfd):
    two = [*TWO, "--data.init_args.batch_size", "8", *noting("two"), "--trainer.max_steps", "28"]
    assert in_processes(lambda: fit(recipe, *two), world=2) == [0, 0]
    one = ["--data.init_args.batch_size", batch_size, *noting("one"), "--resume", "runs/tiny/0/checkpoints/last.ckpt"]
    assert fit_in_child(recipe, *one) == 0
    assert ("16 images each instead of 8, so that 16 stay a global batch" in capfd.readouterr().err) == (
        batch_size == "8"
    )
    whole = seen_by_one(straight / "noted")
    assert seen_by_two("two") == whole[:28]
    assert seen_by_one("one") == whole[28:]
    assert table("runs/tiny/0").count(",train/loss,") == table(straight / "tiny/0").count(",train/loss,")


def test_two_processes_go_on_with_what_one_began(recipe, straight):
    fit_in_child(recipe, *noting("one"), *kill_at(33))
    assert in_processes(lambda: fit(recipe, *TWO, *noting("two"), "--resume", "runs/tiny/0"), world=2) == [0, 0]
    whole = seen_by_one(straight / "noted")
    assert seen_by_two("two") == whole[28:]  # the newest checkpoint before step 33 is that of step 28
    assert torch.load("runs/tiny/0/checkpoints/last.ckpt", weights_only=True)["visionlab"]["global_batch"] == 16


def test_processes_that_cannot_share_the_global_batch_equally_are_refused(recipe, capfd):
    fit_in_child(recipe, *kill_at(33))
    three = ["--trainer.devices", "3", "--trainer.strategy", "ddp", "--resume", "runs/tiny/0"]
    assert in_processes(lambda: fit(recipe, *three), world=3) == [2, 2, 2]
    assert "saved by 1 processes with 16 images in a global batch, which 3 processes cannot" in capfd.readouterr().err


SCHEDULES = {
    "an epoch": "{class_path: torch.optim.lr_scheduler.StepLR, init_args: {step_size: 1, gamma: 0.5}}, "
    "interval: epoch}",
    "a plateau": "{class_path: torch.optim.lr_scheduler.ReduceLROnPlateau, init_args: {patience: 0, threshold: 0.9}}, "
    "interval: epoch, monitor: val/loss}",
}


@pytest.mark.parametrize("step", [33, *(pytest.param(step, marks=SLOW) for step in (20, 38))])
@pytest.mark.parametrize("schedule", ["an epoch", pytest.param("a plateau", marks=SLOW)])
def test_schedules_by_epoch_are_continued_to_equal_bits(recipe, schedule, step):
    """From a checkpoint of an epoch's end, after which Lightning tells ReduceLROnPlateau, and from within an epoch."""
    scheduled = ["--model.init_args.lr_schedulers", f"[{{scheduler: {SCHEDULES[schedule]}]"]
    assert fit_in_child(recipe, *scheduled, "--runs", "straight") == 0
    assert fit_in_child(recipe, *scheduled, *kill_at(step)) == -signal.SIGKILL
    assert fit_in_child(recipe, *scheduled, "--resume", "runs/tiny/0") == 0
    rates = {line.split(",")[3] for line in table("straight/tiny/0").splitlines() if ",train/lr," in line}
    assert len(rates) > 2
    assert_same_end("straight/tiny/0", "runs/tiny/0")


def test_a_gradient_scaler_is_continued_to_equal_bits(recipe):
    arguments = "{precision: 16-mixed, device: cpu}"
    half = ["--trainer.plugins", f"{{class_path: lightning.pytorch.plugins.MixedPrecision, init_args: {arguments}}}"]
    assert fit_in_child(recipe, *half, "--runs", "straight") == 0
    assert fit_in_child(recipe, *half, *kill_at(33)) == -signal.SIGKILL
    assert fit_in_child(recipe, *half, "--resume", "runs/tiny/0") == 0
    assert_same_end("straight/tiny/0", "runs/tiny/0")
    one, other = (
        torch.load(f"{runs}/tiny/0/checkpoints/last.ckpt", weights_only=True)["MixedPrecision"]
        for runs in ("straight", "runs")
    )
    assert one == other
    assert one["scale"] > 0
    assert one["_growth_tracker"] > 0


def test_two_optimizers_by_hand_are_continued_to_equal_bits(recipe):
    task = ["--model", "stand_ins.TwoOptimizers", "--model.init_args.lr_schedulers", "[]"]
    assert fit_in_child(recipe, *task, "--runs", "straight") == 0
    # each batch counts two steps: within the second epoch
    assert fit_in_child(recipe, *task, "--trainer.max_steps", "50") == 0
    assert torch.load("runs/tiny/0/checkpoints/last.ckpt", weights_only=True)["global_step"] == 50
    assert fit_in_child(recipe, *task, "--resume", "runs/tiny/0/checkpoints/last.ckpt") == 0
    for name, value in weights("straight/tiny/0").items():
        assert torch.equal(value, weights("runs/tiny/0")[name]), name
    one, other = (
        torch.load(f"{runs}/tiny/0/checkpoints/last.ckpt", weights_only=True) for runs in ("straight", "runs")
    )
    assert one["lr_schedulers"] == other["lr_schedulers"]
    for first, second in zip(one["optimizer_states"], other["optimizer_states"], strict=True):
        for number, state in first["state"].items():
            for name, value in state.items():
                assert torch.equal(torch.as_tensor(value), torch.as_tensor(second["state"][number][name]))


@SLOW
@pytest.mark.parametrize(
    ("world", "then", "workers", "count"), [(1, 1, 2, 4), (2, 2, 0, 6), (2, 2, 2, 4), (1, 2, 0, 3), (2, 1, 2, 3)]
)
def test_twenty_random_kills(tmp_path, world, then, workers, count):
    kills = Kills(tmp_path / "kills", world, then, workers, seed=0)
    for _ in range(count):
        outcome = kills.kill_and_continue()
        assert outcome.equal, outcome
        assert outcome.redone <= SAVED_EVERY, outcome
