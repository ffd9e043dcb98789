"""The README's commands do what it says: the short ones are run as they stand, of the long ones the request is checked."""
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import bench
import lessons
import nbformat
import pytest
import run
from test_lessons_run_quick import LEFT_OUT

README = lessons.ROOT / "README.md"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
LINES = [line for language, block in BLOCKS if not language for line in block.splitlines()]
INLINE = re.findall(r"`((?:\w+=\S+ )*make [^`]*)`", README.read_text(encoding="utf-8"))
MAKE = sorted({line for line in LINES + INLINE if re.match(r"(\w+=\S+ )*make ", line)})
WINDOWS = [line for line in LINES if line.startswith(("py ", ".venv\\"))]
RUN_AS_THEY_STAND = [line for line in LINES if line.startswith(".venv/bin/")] + ['make run LESSON=03 PARAMS="batch_size=32 max_iters=500"', "make help"]
VENV = Path(sys.prefix)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project whose .venv is the one that runs the tests."""
    root = tmp_path_factory.mktemp("a copy") / "gpt"
    shutil.copytree(lessons.ROOT, root, ignore=shutil.ignore_patterns(*LEFT_OUT))
    (root / ".venv").symlink_to(VENV)
    return root


def shell(command, folder):
    """Run a command; returns what it printed. The requirements count as installed: else the tests could not run."""
    installed = " ".join(f"-o .venv/.installed{name}" for name in ("", "-for-tests", "-for-slides"))
    command = re.sub(r"^((?:\w+=\S+ )*)make ", rf"\1make {installed} ", command)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TINYGPT_")} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def request(command, folder):
    """What make would run for this command."""
    return shell(command.replace("make ", "make -n ", 1), folder)


def test_there_are_commands_and_each_is_of_a_kind_that_is_tested():
    rest = {line for line in LINES if line} - set(MAKE) - set(WINDOWS) - set(RUN_AS_THEY_STAND)
    written_by_deep = {line for language, block in BLOCKS if "KING EDWARD" in block for line in block.splitlines()}
    assert not rest - written_by_deep
    assert len(MAKE) > 12 and len(WINDOWS) == 5 and set(RUN_AS_THEY_STAND) - {"make help"} <= set(LINES)


@pytest.mark.parametrize("command", MAKE)
def test_make_knows_the_target_and_every_setting(command, project):
    asked = request(command, project)
    explained = shell("make help", project)
    for setting in re.findall(r"\b([A-Z_]+)=", command.split("make ", 1)[1]):
        assert f"  {setting}=" in explained
    assert "python" in asked or command == "make help"
    if "make run" in command:
        options = re.search(r"--lesson '(.*)' --params '(.*)' --record", asked)
        paths = run.choose(lessons.LESSONS, options[1])
        assert [run.parse(path, options[2]) for path in paths]
    if "make bench" in command:
        assert set(re.search(r"--parts '(.*)'", asked)[1].split()) <= set(bench.PARTS)


def test_a_command_with_a_wrong_target_setting_or_parameter_is_noticed(project):
    for wrong in ("make tset", 'make run LESSON=09 PARAMS="iters=3"', "make run LESON=09"):
        with pytest.raises((AssertionError, ValueError)):
            test_make_knows_the_target_and_every_setting(wrong, project)


@pytest.mark.parametrize("command", RUN_AS_THEY_STAND)
def test_a_short_command_runs_as_it_stands(command, project):
    if "papermill" in command and not (VENV / "bin" / "papermill").exists():
        pytest.skip("papermill's command lies elsewhere")
    said = shell(command, project)
    if "papermill" in command:
        assert all(cell.execution_count for cell in lessons.code_cells(lessons.read(project / "out.ipynb")))
    elif "nbval" in command:
        assert " passed" in said and "failed" not in said
    elif "make run" in command:
        (row,) = json.loads((project / "runs" / "results.json").read_text())
        assert row["result"] == "passed" and row["parameters"] == {"batch_size": 32, "max_iters": 500}
    else:
        assert all(f"make {target} " in said for target in ("lab", "test", "run", "html", "grade"))


def test_the_commands_for_windows_ask_for_what_the_makefile_does(project):
    making, packages, lab, more, checking = (line.replace("\\", "/") for line in WINDOWS)
    assert making == "py -3 -m venv .venv"
    python = ".venv/Scripts/python -m "
    assert packages == python + "pip install -r requirements.txt" and more == python + "pip install -r tests/requirements.txt"
    assert shell(lab.replace(python, ".venv/bin/python -m ") + " --version", project)
    collected = shell(checking.replace(python, ".venv/bin/python -m ") + " --collect-only -q", project)
    assert all(f"{path.name}::" in collected for path in lessons.LESSONS + lessons.SOLUTIONS)


@pytest.mark.skipif(not (shutil.which("git") and (lessons.ROOT / ".git").exists()), reason="no git, or this copy of the project is no clone: nothing to clone from")
def test_the_cell_for_hosted_notebooks_fetches_the_folder_once_and_the_lesson_runs_after_it(tmp_path):
    (cell,) = [block for language, block in BLOCKS if language == "python"]
    cell = cell.replace("ADDRESS-OF-THIS-REPOSITORY", f"'{lessons.ROOT.as_uri()}'")
    nb, alone = lessons.read(lessons.find("03")), tmp_path / "alone.ipynb"
    nb.cells = [nbformat.v4.new_code_cell(cell), nbformat.v4.new_code_cell(cell), *nb.cells]
    nbformat.write(nb, alone)
    lessons.execute(alone, tmp_path / "out.ipynb", lessons.QUICK["03"] | {"corpus": "six_plays", "device": "cpu"})
    assert [path.parent.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("tinygpt.py")] == ["gpt-from-scratch/notebooks"]


# ---- Numbers ----------------------------------------------------------------------------------


def rows():
    """{'07': (seconds, the numbers in the column of losses)} of the table of lessons."""
    found = re.findall(r"^\| \[(\d\d) · .*?\| .*? \| (\d+) \| (.*?) ?\|$", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {number: (int(seconds), [float(value) for value in re.findall(r"\d\.\d\d", losses)]) for number, seconds, losses in found}


def test_the_table_of_lessons_says_what_was_recorded_and_what_the_lessons_print():
    record = json.loads((lessons.ROOT / "tests" / "budgets.json").read_text())["lessons"]
    assert list(rows()) == [lessons.number(path) for path in lessons.LESSONS]
    for path in lessons.LESSONS:
        seconds, losses = rows()[lessons.number(path)]
        results = lessons.results(lessons.read(path))
        assert seconds == record[path.stem]["seconds"]
        assert losses == [round(value, 2) for value in results["rungs"].values()] + ([round(results["train_loss"], 2)] if "train_loss" in results else [])


def test_the_ladder_and_the_map_say_what_the_lessons_print():
    measured = {f"{value:.2f}" for path in lessons.LESSONS for value in lessons.results(lessons.read(path))["rungs"].values()}
    assert {"4.17", "3.35", "2.48", "2.45", "2.29", "2.04", "1.81", "1.65"} <= measured
    for picture in ("ladder", "series"):
        shown = (lessons.ROOT / "img" / f"{picture}.svg").read_text(encoding="utf-8")
        losses = set(re.findall(r"(?<![\d.−-])[1-4]\.\d\d(?!\d)", re.sub(r"<desc.*?</desc>", "", shown, flags=re.DOTALL)))
        losses = {loss for loss in losses if re.search(rf">[^<]*{loss}[^<]*<", shown)}
        assert losses - measured <= {"1.55"}  # the medium model: the table of the section "How good, how fast"
        assert len(losses & measured) >= 7
    assert "| 1.547 (21 min) |" in README.read_text(encoding="utf-8")


# ---- Elsewhere --------------------------------------------------------------------------------


def test_the_dev_container_installs_with_the_makefile(project):
    container = json.loads((lessons.ROOT / ".devcontainer" / "devcontainer.json").read_text())
    made = subprocess.run(container["postCreateCommand"].replace("make ", "make -B -n ", 1), shell=True, cwd=project, capture_output=True, text=True, check=True)
    assert "pip install --quiet --extra-index-url https://download.pytorch.org/whl/cpu --requirement requirements.txt" in made.stdout
    assert container["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"] == "${workspaceFolder}/.venv/bin/python"
    assert container["image"].endswith(":3.11")


def test_binder_installs_the_same_packages():
    lines = (lessons.ROOT / ".binder" / "requirements.txt").read_text().splitlines()
    (required,) = [line.split()[1] for line in lines if line.startswith("--requirement ")]
    assert (lessons.ROOT / ".binder" / required).resolve() == lessons.ROOT / "requirements.txt"
    assert (lessons.ROOT / ".binder" / "runtime.txt").read_text().strip() == "python-3.11"
