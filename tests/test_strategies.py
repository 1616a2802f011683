"""Lightning's strategies train, save, continue and test like one process."""

import signal
from pathlib import Path

import pytest
import torch
from lightning.pytorch.strategies import FSDPStrategy

from conftest import in_child, in_processes, wait_for
from visionlab.cli import main
from visionlab.load import load
from visionlab.run import is_whole
from visionlab.strategies import keep_single_files

SHARED = ["--trainer.devices", "2", "--data.init_args.batch_size", "8"]


def fit(recipe, *words):
    command = ["fit", "--config", str(recipe), "--trainer.max_epochs", "2", "--save_every_n_steps", "7"]
    return main([*command, "--trainer.logger", "false", *words])


def weights(run):
    return torch.load(Path(run) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.slow
def test_parameters_that_are_shared_out_train_are_saved_continued_and_tested(recipe):
    """FSDP2 on two processes against DDP, on a net without BatchNorm and Dropout."""
    plain = [*SHARED, "--model.init_args.net", "stand_ins.PlainNet"]
    sharded = [*plain, "--trainer.strategy", "lightning.pytorch.strategies.ModelParallelStrategy"]
    sharded += ["--trainer.strategy.data_parallel_size", "2", "--trainer.strategy.tensor_parallel_size", "1"]
    kill = ["--trainer.callbacks+", "{class_path: stand_ins.SignalAt, init_args: {step: 25, rank: 1}}"]
    assert in_processes(lambda: fit(recipe, *plain, "--trainer.strategy", "ddp", "--runs", "ddp"), 2) == [0, 0]
    assert in_processes(lambda: fit(recipe, *sharded, "--runs", "straight"), 2) == [0, 0]
    killed = in_processes(lambda: fit(recipe, *sharded, *kill), 2)
    assert killed[1] == -signal.SIGKILL
    assert killed[0] != 0
    assert is_whole(Path("runs/tiny/0/checkpoints/last.ckpt"))
    assert in_processes(lambda: fit(recipe, *sharded, "--resume", "runs/tiny/0"), 2) == [0, 0]
    for name, value in weights("straight/tiny/0").items():
        assert torch.equal(weights("runs/tiny/0")[name], value), name
        assert torch.allclose(weights("ddp/tiny/0")[name], value, atol=1e-5), name
    for run in ("straight/tiny/0", "runs/tiny/0"):
        assert sorted(path.name for path in Path(run, "checkpoints").iterdir()) == [
            "best.ckpt",
            "last.ckpt",
            "previous.ckpt",
        ]
    assert len(load("runs/tiny/0").class_names) == 10  # in one process, without a mesh
    assert wait_for(in_child(lambda: main(["test", "--config", "runs/tiny/0/config.yaml", *one_process()]))) == 0


def one_process():
    best = "runs/tiny/0/checkpoints/best.ckpt"
    return ["--ckpt_path", best, "--trainer.strategy", "auto", "--trainer.devices", "1", "--trainer.logger", "false"]


def test_parameters_that_are_shared_out_are_not_averaged(recipe, capfd):
    sharded = [*SHARED, "--trainer.strategy", "lightning.pytorch.strategies.ModelParallelStrategy"]
    sharded += ["--trainer.strategy.data_parallel_size", "2", "--trainer.strategy.tensor_parallel_size", "1"]
    average = ["--trainer.callbacks+", "visionlab.callbacks.ema.EMA"]
    assert in_processes(lambda: fit(recipe, *sharded, *average), 2) == [2, 2]
    assert "EMA averages whole weights, which this strategy shares out" in capfd.readouterr().err


def test_fsdp_runs_no_code_of_a_checkpoint():
    class Harm:
        def __reduce__(self):
            return Path.touch, (Path("harmed"),)

    torch.save({"state_dict": {}, "harm": Harm()}, "evil.ckpt")
    strategy = FSDPStrategy(state_dict_type="full")
    keep_single_files(strategy)
    with pytest.raises(ValueError, match=r"evil\.ckpt is damaged, or holds more than tensors"):
        strategy.load_checkpoint("evil.ckpt")
    assert not Path("harmed").exists()


@pytest.mark.slow
def test_a_search_for_unused_parameters_changes_no_bit(recipe):
    searching = ["--trainer.strategy", "ddp_find_unused_parameters_true"]
    assert in_processes(lambda: fit(recipe, *SHARED, "--trainer.strategy", "ddp", "--runs", "ddp"), 2) == [0, 0]
    assert in_processes(lambda: fit(recipe, *SHARED, *searching), 2) == [0, 0]
    for name, value in weights("ddp/tiny/0").items():
        assert torch.equal(weights("runs/tiny/0")[name], value), name


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("fsdp", "requires a GPU"),
        ("deepspeed", "DeepSpeed"),
        ("ddb", "ddb"),
        ("xla", "torch_xla"),
    ],
)
def test_a_strategy_that_cannot_be_had_is_one_line(recipe, capfd, strategy, message):
    assert wait_for(in_child(lambda: fit(recipe, "--trainer.strategy", strategy))) == 2
    error = capfd.readouterr().err
    assert message in error.splitlines()[-1]
    assert "Traceback" not in error
    assert not list(Path().glob("runs/*/*"))
