"""What the repository says about itself is so."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import visionlab

ROOT = Path(__file__).parents[1]
PAGES = [p for p in sorted(ROOT.rglob("*.md")) if not {".venv", "data", "runs"} & set(p.relative_to(ROOT).parts[:1])]
PAGES += [ROOT / "data" / "README.md"]
RECIPES = sorted((ROOT / "experiments").rglob("*.yaml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
COMMANDS = (
    "pip install uv && uv run visionlab fit --config experiments/quickstart.yaml",
    "pip install uv && uv run pytest",
)


def anchors(page):
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_has_the_two_commands(command):
    assert f"```\n{command}\n```" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_ci_calls_the_command_for_the_tests():
    assert COMMANDS[1] in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_the_header_of_a_recipe_says_measured_or_published(recipe):
    lines = recipe.read_text(encoding="utf-8").splitlines()[1:]
    header = " ".join(lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]).lower()
    assert re.search(r"\bmeasured|\bpublished", header)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_the_page_on_experiments_has_every_recipe(recipe):
    page = ROOT / "experiments" / "README.md"
    assert f"]({recipe.relative_to(page.parent)})" in page.read_text(encoding="utf-8")


def test_the_changelog_has_this_version():
    assert f"\n## [{visionlab.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "path", [p for p in ROOT.rglob("*.py") if p.parts[len(ROOT.parts)] in ("src", "tests")], ids=str
)
def test_files_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 400


def test_test_files_have_names_of_their_own():
    names = [path.name for path in (ROOT / "tests").rglob("*.py")]
    assert len(names) == len(set(names))


def test_no_lock_file_is_tracked():
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "pyproject.toml" in tracked.splitlines()
    assert "uv.lock" not in tracked


def test_every_direct_dependency_is_pinned_within_its_bounds():
    project = PROJECT["project"]
    direct = [
        *project["dependencies"],
        *(line for lines in project["optional-dependencies"].values() for line in lines),
    ]
    pins = dict(pin.split("==") for pin in PROJECT["tool"]["uv"]["constraint-dependencies"])
    for requirement in map(Requirement, direct):
        if requirement.name != "visionlab":
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def test_every_floor_has_its_reason():
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    floors = [line for line in lines if re.match(r'\s*("|timm = |requires-python).*>=', line)]
    assert len(floors) > 20
    assert [line for line in floors if "  # " not in line] == []


def test_hooks_need_no_network():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {repository["repo"] for repository in hooks["repos"]} == {"local"}
    assert {hook["language"] for hook in hooks["repos"][0]["hooks"]} == {"system"}
