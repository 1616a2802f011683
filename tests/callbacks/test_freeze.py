import torch

from conftest import in_processes
from visionlab.cli import main
from visionlab.experiment import Experiment


def fit(recipe, modules, *overrides):
    freeze = f"{{class_path: visionlab.callbacks.freeze.Freeze, init_args: {{modules: {modules}}}}}"
    words = ["--trainer.callbacks+", freeze, "--trainer.logger", "false", "--trainer.max_epochs", "1"]
    return main(["fit", "--config", str(recipe), *words, *overrides])


def states(run="runs/tiny/0", name="last"):
    return torch.load(f"{run}/checkpoints/{name}.ckpt", weights_only=True)["state_dict"]


def initial(recipe):
    """The weights that the recipe starts from."""
    return Experiment(["--config", str(recipe)]).model.state_dict()


def assert_frozen(before, after, frozen):
    for name, value in before.items():
        stays = name.startswith(frozen)
        if value.is_floating_point() and "running" not in name:
            assert torch.equal(value, after[name]) == stays, name
        elif stays:
            assert torch.equal(value, after[name]), name


def test_frozen_modules_stay_as_they_are_to_the_last_bit(recipe):
    assert fit(recipe, "[features]") == 0
    after = states()
    assert_frozen(initial(recipe), after, "net.features")
    assert after["net.features.1.num_batches_tracked"] == 0
    assert torch.equal(after["net.features.1.running_mean"], torch.zeros(8))


def test_a_module_in_a_module_freezes_alone(recipe):
    assert fit(recipe, "[features.0, head]") == 0
    after = states()
    assert_frozen(initial(recipe), after, ("net.features.0", "net.head"))
    assert after["net.features.1.num_batches_tracked"] == 18


def test_frozen_modules_stay_so_in_two_processes(recipe):
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--data.init_args.batch_size", "8"]
    assert in_processes(lambda: fit(recipe, "[features]", *two), 2) == [0, 0]
    assert_frozen(initial(recipe), states(), "net.features")


def test_a_continued_run_stays_frozen(recipe):
    assert fit(recipe, "[features]") == 0
    assert fit(recipe, "[features]", "--trainer.max_epochs", "2", "--resume", "runs/tiny/0") == 0
    assert_frozen(initial(recipe), states(), "net.features")


def test_an_unknown_name_is_an_error_that_lists_what_there_is(recipe, capsys):
    assert fit(recipe, "[backbone]") == 2
    message = "visionlab: the net has no module 'backbone' to freeze; at the top it has ['features', 'head']\n"
    assert capsys.readouterr().err == message
