"""``visionlab submit`` writes a file that people can read, edit and submit, and refuses what Slurm could not do."""

import subprocess
import sys
from pathlib import Path

import pytest

from visionlab.cli import main
from visionlab.slurm import check_launch, check_tasks, first_host


def written(*words):
    assert main(["submit", *words]) == 0
    return sorted(Path("runs/tiny").glob("submit-*.sbatch"))[-1].read_text()


def test_the_file_says_all_that_a_job_needs(recipe, capfd):
    text = written(str(recipe), "--nodes", "2", "--gpus", "4", "--time", "1-0", "--sbatch", "partition=a100")
    assert capfd.readouterr().out == "runs/tiny/submit-0.sbatch\n"
    settings = [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")]
    for setting in (
        "--nodes=2",
        "--ntasks-per-node=4",
        "--gpus-per-node=4",
        "--time=1-0",
        "--signal=USR1@120",
        "--requeue",
        "--open-mode=append",
        "--output=runs/tiny/slurm-%j.out",
        "--partition=a100",
    ):
        assert setting in settings
    assert "visionlab fit --config tiny.yaml --resume auto" in text
    assert "--trainer.num_nodes 2 --trainer.devices 4 --trainer.accelerator gpu" in text
    subprocess.run(["bash", "-n", "runs/tiny/submit-0.sbatch"], check=True)


def test_a_job_without_gpus_has_one_task_a_node_and_a_file_of_its_own(recipe):
    written(str(recipe))
    text = written(str(recipe), "--gpus", "0", "--", "--trainer.max_epochs", "3")
    assert "--ntasks-per-node=1" in text
    assert "gpus-per-node" not in text
    assert text.rstrip().endswith("--trainer.max_epochs 3")
    assert len(list(Path("runs/tiny").iterdir())) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.yaml"], "there is no file nowhere.yaml"),
        (["tiny.yaml", "--nodes", "0"], "--nodes must be at least 1, not 0"),
        (["tiny.yaml", "--gpus", "-1"], "--gpus must be at least 0, not -1"),
        (["tiny.yaml", "--gpus", "all"], "invalid int value: 'all'"),
        (["tiny.yaml", "--time", "tomorrow"], "--time is 'tomorrow'; expected minutes"),
        (["tiny.yaml", "--time", "4"], "--time 4 is less than 5 minutes"),
        (["tiny.yaml", "--sbatch", "a 100"], "--sbatch takes KEY=VALUE"),
        (["tiny.yaml", "--sbatch", "comment=two\nlines"], "--sbatch takes KEY=VALUE"),
        (
            ["tiny.yaml", "--trainer.max_epochs", "3"],
            "takes no --trainer.max_epochs; give keys of the recipe behind --",
        ),
    ],
)
def test_mistakes_are_one_line_and_leave_no_file(recipe, capfd, words, message):
    assert main(["submit", *words]) == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(Path().rglob("*.sbatch"))


def test_submitting_at_once_prints_the_job(recipe, capfd, monkeypatch, tmp_path):
    """With a stand-in for sbatch; the drill has a real one."""
    (tmp_path / "sbatch").write_text(f"#!{sys.executable}\nimport sys\nprint('17;cluster', sys.argv[1:] and '')\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["submit", "tiny.yaml", "--now"]) == 0
    assert capfd.readouterr().out.splitlines() == ["runs/tiny/submit-0.sbatch", "job 17"]


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("n1", "n1"), ("n[1-2]", "n1"), ("n[07-09,12],m3", "n07"), ("a,b[1-2]", "a"), ("gpu-[3,5]", "gpu-3")],
)
def test_the_first_host_of_a_list(nodes, first):
    assert first_host(nodes) == first


TWO_TASKS = {"SLURM_JOB_ID": "5", "SLURM_NTASKS": "2", "SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "nowhere.invalid"}
STARTED = {"SLURM_STEP_ID": "0", "SLURM_NTASKS_PER_NODE": "1"}


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (TWO_TASKS, "this Slurm job has 2 tasks, and visionlab runs in one of them only: put srun before it"),
        (TWO_TASKS | {"SLURM_STEP_ID": "0"}, "give --nodes=2 --ntasks-per-node=1"),
        (TWO_TASKS | STARTED, "the host nowhere.invalid (the first of the job's nodes)"),
        (TWO_TASKS | STARTED | {"MASTER_ADDR": "here.invalid"}, "the host here.invalid (MASTER_ADDR)"),
    ],
)
def test_a_wrong_launch_is_named(recipe, capfd, monkeypatch, environment, message):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["fit", "--config", str(recipe)]) == 2
    assert message in capfd.readouterr().err


@pytest.mark.parametrize("words", [[], ["--trainer.devices", "4"]])
def test_a_recipe_for_other_tasks_is_refused_before_torch_is_loaded(recipe, capfd, monkeypatch, words):
    monkeypatch.setattr("visionlab.cli.fit._fit", None)
    for name, value in (TWO_TASKS | STARTED | {"MASTER_ADDR": "localhost"}).items():
        monkeypatch.setenv(name, value)
    assert main(["fit", "--config", str(recipe), *words]) == 2
    assert f"wants {words[-1] if words else 1} tasks on each of 1 nodes" in capfd.readouterr().err


def test_a_wrong_number_of_tasks_is_named(monkeypatch):
    for name, value in (TWO_TASKS | STARTED).items():
        monkeypatch.setenv(name, value)
    check_tasks(1, 2)
    with pytest.raises(ValueError, match="wants 4 tasks on each of 2 nodes, but Slurm started 2 on 2"):
        check_tasks(4, 2)
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    check_tasks(4, 2)
    check_launch()
