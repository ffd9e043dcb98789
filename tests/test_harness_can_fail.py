"""The harness rejects what it must: every check is shown a fault, and a notebook without faults."""
import ast
import json
import re
import shutil
import subprocess
import sys

import budgets
import execute
import lessons
import mutate
import nbformat
import pytest
import run
import stored
import taught
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from test_lessons_as_stored import readme_complaints

PARAMETERS = 'corpus = "auto"\ndevice = "auto"\nseed = 1337\nsteps = 3'
DIES = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


def code(source, *tags, text=None, outputs=None):
    """A code cell with these tags that printed `text`."""
    outputs = [new_output("stream", name="stdout", text=text)] if text else outputs or []
    return new_code_cell(source, metadata={"tags": list(tags)} if tags else {}, outputs=outputs)


def write(path, *cells):
    """Write an executed notebook: a heading, the parameters, then these cells; strings are Markdown."""
    cells = [new_markdown_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    nb = new_notebook(cells=cells, metadata=stored.METADATA)
    for count, cell in enumerate(lessons.code_cells(nb), 1):
        cell.execution_count = count
    nbformat.write(nb, path)
    return path


@pytest.fixture
def lesson(tmp_path):
    """Writes lesson 07 with these cells after its heading and its parameters."""

    def write_lesson(*cells, name="07_probe.ipynb"):
        return write(tmp_path / name, "# A heading", code(PARAMETERS, "parameters"), *cells)

    return write_lesson


def edit(path, **changes):
    """Change keys of the last cell, as stored."""
    nb = json.loads(path.read_text())
    nb["cells"][-1] |= changes
    path.write_text(json.dumps(nb))
    return path


# ---- nbval ------------------------------------------------------------------------------------


def nbval(path, timeout=60):
    """pytest's exit status and its output."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env"]
    done = subprocess.run([*command, f"--nbval-cell-timeout={timeout}", str(path)], check=False, capture_output=True, text=True, cwd=path.parent)
    return done.returncode, done.stdout


def test_nbval_accepts_the_same_output(lesson):
    status, shown = nbval(lesson(code("print(steps)", text="3\n")))
    assert status == 0 and "2 passed" in shown


def test_nbval_rejects_a_changed_output(lesson):
    status, shown = nbval(lesson(code("print(steps)", text="4\n")))
    assert status == 1 and "1 failed, 1 passed" in shown


def test_nbval_leaves_an_ignored_output_alone(lesson):
    status, shown = nbval(lesson(code("print(steps)", "nbval-ignore-output", text="4\n")))
    assert status == 0 and "2 passed" in shown


def test_nbval_rejects_a_cell_that_raises_though_its_output_is_ignored(lesson):
    status, shown = nbval(lesson(code("1 / 0", "nbval-ignore-output")))
    assert status == 1 and "ZeroDivisionError" in shown


def test_nbval_rejects_a_kernel_that_dies(lesson):
    status, _ = nbval(lesson(code(DIES)), timeout=5)
    assert status == 1


def test_nbval_rejects_a_cell_that_takes_too_long(lesson):
    status, shown = nbval(lesson(code("import time; time.sleep(60)")), timeout=3)
    assert status == 1 and "1 failed" in shown


def budget(mib, imported=10_000):
    return {"imported_mib": imported, "lessons": {"07_probe": {"peak_mib": mib}}}


def with_budgets(path, record, monkeypatch):
    """pytest's exit status and output for this notebook, with these budgets."""
    recorded = path.with_name("budgets.json")
    recorded.write_text(json.dumps(record))
    monkeypatch.setenv("TINYGPT_BUDGETS", str(recorded))
    monkeypatch.setenv("PYTHONPATH", str(lessons.ROOT / "tests"))
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p budgets")
    return nbval(path)


def test_a_lesson_within_its_budget_passes(lesson, monkeypatch):
    status, shown = with_budgets(lesson(code("print(steps)", text="3\n")), budget(5000), monkeypatch)
    assert status == 0 and "2 passed" in shown


def test_a_lesson_that_takes_more_than_twice_its_memory_fails(lesson, monkeypatch):
    path = lesson(code("hoard = bytearray(200_000_000); print(steps)", text="3\n"))
    status, shown = with_budgets(path, budget(80), monkeypatch)
    assert status == 1 and "MiB: 160 are allowed, 2 times what was recorded" in shown


def test_a_lesson_over_its_budget_does_not_harm_the_next_one(lesson, monkeypatch):
    path = lesson(code("hoard = bytearray(200_000_000); print(steps)", text="3\n"))
    second = shutil.copy(path, path.with_name("08_probe.ipynb"))
    recorded = path.with_name("budgets.json")
    recorded.write_text(json.dumps(budget(80)))
    monkeypatch.setenv("TINYGPT_BUDGETS", str(recorded))
    monkeypatch.setenv("PYTHONPATH", str(lessons.ROOT / "tests"))
    monkeypatch.setenv("PYTEST_ADDOPTS", f"-p budgets '{second}'")
    status, shown = nbval(path)
    assert status == 1 and "4 passed, 1 error" in shown


def test_a_larger_build_of_pytorch_is_no_fault_of_the_lesson(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYGPT_DEVICE", "cpu")
    monkeypatch.setattr(budgets, "RECORD", tmp_path / "budgets.json")
    budgets.RECORD.write_text(json.dumps(budget(80, imported=round(budgets.imported()) - 100)))
    assert budgets.over_budget(tmp_path / "07_probe.ipynb", 255, 1) == []
    assert "260 are allowed" in budgets.over_budget(tmp_path / "07_probe.ipynb", 265, 1)[0]


def test_a_lesson_past_its_hard_limit_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(budgets, "RECORD", tmp_path / "budgets.json")
    budgets.RECORD.write_text(json.dumps(budget(80)))
    assert budgets.over_budget(tmp_path / "07_probe.ipynb", 80, budgets.HARD_LIMIT - 1) == []
    assert budgets.over_budget(tmp_path / "07_probe.ipynb", 80, 901) == ["07_probe.ipynb took 901 seconds: 900 are allowed"]


def test_memory_is_not_judged_where_a_gpu_takes_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(budgets, "RECORD", tmp_path / "budgets.json")
    budgets.RECORD.write_text(json.dumps(budget(80)))
    for device, judged in (("cpu", True), ("cuda", False), ("mps", False)):
        monkeypatch.setenv("TINYGPT_DEVICE", device)
        assert bool(budgets.over_budget(tmp_path / "07_probe.ipynb", 161, 1)) == judged


def test_every_lesson_has_a_budget():
    recorded = json.loads(budgets.RECORD.read_text())["lessons"]
    assert list(recorded) == [path.stem for path in lessons.LESSONS]
    assert all(0 < entry["seconds"] < budgets.HARD_LIMIT and 100 < entry["peak_mib"] < 2000 for entry in recorded.values())


# ---- papermill, make run, make execute --------------------------------------------------------


def test_a_lesson_runs_with_other_parameters(lesson, tmp_path):
    nb = lessons.execute(lesson(code("print(steps)")), tmp_path / "out.ipynb", {"steps": 5})
    assert list(lessons.printed(nb.cells[-1])) == ["5\n"]


@pytest.mark.parametrize(
    "source, complaint",
    [
        ("1 / 0", r"failed in cell \[2\]: ZeroDivisionError"),
        (DIES, r"the kernel died in cell \[2\]"),
        ("import time; time.sleep(60)", r"cell \[2\] took longer than 3 seconds"),
        ("import sys; sys.exit(0)", r"the lesson ended itself in cell \[2\]"),
    ],
    ids=["a cell that raises", "a kernel that dies", "a cell past its time", "a lesson that ends itself"],
)
def test_papermill_rejects(lesson, tmp_path, source, complaint):
    path = lesson(code(source), code("print('after')"))
    with pytest.raises(lessons.LessonFailed, match=complaint):
        lessons.execute(path, tmp_path / "out.ipynb", {}, timeout=3)


def test_an_unknown_parameter_is_an_error_before_anything_runs(lesson, tmp_path):
    with pytest.raises(ValueError, match="^07_probe.ipynb has no parameter 'stpes': choose from corpus, device, seed, steps$"):
        lessons.execute(lesson(), tmp_path / "out.ipynb", {"stpes": 5})
    assert not (tmp_path / "out.ipynb").exists()


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["--params", "stpes=5"], "07_probe.ipynb has no parameter 'stpes': choose from corpus, device, seed, steps"),
        (["--params", "steps=many"], "steps=many is no value for steps: it takes values such as 3"),
        (["--params", "steps"], "steps= is no value for steps: it takes values such as 3"),
        (["--lesson", "08"], "there is no lesson '08': choose from 07"),
    ],
)
def test_make_run_refuses_a_wrong_request_in_one_sentence(lesson, tmp_path, capsys, arguments, complaint):
    assert run.main(arguments, [lesson()], tmp_path / "runs") == 2
    assert capsys.readouterr().err == complaint + "\n"
    assert not (tmp_path / "runs").exists()


def test_make_run_prints_one_table_and_keeps_its_numbers(lesson, tmp_path, capsys):
    rungs = f"from IPython.display import display\ndisplay({{{lessons.RESULTS!r}: {{'rungs': {{'GPT': steps / 4}}}}}}, raw=True)"
    good = lesson(code("held = bytearray(400 * 2**20)"), code(rungs))
    bad = lesson(code("1 / 0"), name="08_probe.ipynb")
    assert run.main(["--params", "steps=5"], [good, bad], tmp_path / "runs") == 1
    title, first, second = capsys.readouterr().out.splitlines()
    assert re.split(r"  +", title) == ["lesson", "seconds", "peak MiB", "rung", "result"]
    assert first.startswith("07_probe") and "GPT 1.250" in first and first.endswith(" passed")
    assert second.startswith("08_probe") and second.endswith(" failed in cell [3]: ZeroDivisionError: division by zero")
    rows = json.loads((tmp_path / "runs" / "results.json").read_text())
    assert rows[0]["rungs"] == {"GPT": 1.25} and rows[0]["parameters"] == {"steps": 5}
    assert 400 < rows[0]["peak_mib"] < 700 and rows[1]["peak_mib"] < 300
    assert rows[0]["seconds"] > 0


@pytest.fixture
def tiny_shakespeare_is_there(monkeypatch):
    monkeypatch.delenv("TINYGPT_CORPUS", raising=False)
    monkeypatch.setattr(execute, "refuse_other_corpora", lambda: None)


SAYS_TEXT = code(f"print({stored.TINY_SHAKESPEARE!r})")


def test_make_execute_stores_the_same_bytes_every_time(lesson, tiny_shakespeare_is_there):
    renewed = code("print('1 of 2\\r2 of 2', flush=True); print('end'); print('longer\\rlong   ')")
    picture = code("from IPython.display import HTML; HTML('<b>5</b>', metadata={'a': 1})")
    slider = code("from ipywidgets import IntSlider; print('drawn'); display(IntSlider(7))")
    path = edit(lesson(SAYS_TEXT, renewed, slider, picture), metadata={"tags": ["a"], "collapsed": True})
    assert execute.main([], [path]) == 0
    once = path.read_bytes()
    assert execute.main([], [path]) == 0
    assert path.read_bytes() == once
    nb = lessons.read(path)
    assert nb.cells[3].outputs[0].text == "2 of 2\nend\nlong\n"
    assert [output.text for output in nb.cells[4].outputs] == ["drawn\n"]  # the slider lives in its kernel
    assert nb.cells[5].metadata == {"tags": ["a"]} and nb.cells[5].outputs[0].metadata == {}
    assert not stored.lean_metadata(path) + stored.executed_in_order(path) + stored.no_machine_detail(path)


@pytest.mark.parametrize(
    "cells, complaint",
    [
        ([SAYS_TEXT, code("1 / 0")], "ZeroDivisionError"),
        ([SAYS_TEXT, code(DIES)], "Kernel died"),
        ([code("print('six_plays: 274,893 characters, 65 symbols')")], "no line starts with 'tinyshakespeare"),
    ],
    ids=["a cell that raises", "a kernel that dies", "another text"],
)
def test_make_execute_writes_nothing_after(lesson, tiny_shakespeare_is_there, capsys, cells, complaint):
    path = lesson(*cells)
    before = path.read_bytes()
    assert execute.main([], [path]) == 1
    assert path.read_bytes() == before
    assert complaint in capsys.readouterr().err


def test_make_execute_refuses_another_text(lesson, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("TINYGPT_CORPUS", "six_plays")
    assert execute.main([], [lesson()]) == 2
    assert "leave CORPUS (TINYGPT_CORPUS) unset" in capsys.readouterr().err
    monkeypatch.delenv("TINYGPT_CORPUS")
    monkeypatch.setattr(execute, "TEXT", tmp_path / "none.txt")
    assert execute.main([], [lesson()]) == 2
    assert "data/tinyshakespeare.txt is missing or altered" in capsys.readouterr().err


# ---- Checks of the stored file ----------------------------------------------------------------


def test_a_lesson_without_faults_passes_every_check(lesson, tmp_path):
    (tmp_path / "picture.svg").write_text("<svg/>")
    path = lesson(
        "## A step\n\n![A curve that falls and flattens](picture.svg) and [a link](07_probe.ipynb#a).",
        code("import torch", text=f"{stored.TINY_SHAKESPEARE} · cpu\n"),
        "### A smaller step\n\n```\n# no heading\n```",
        code("val_loss = 1.0\nassert val_loss < 2"),
    )
    for check in (
        stored.valid_format, stored.lean_metadata, stored.small_file, stored.executed_in_order, stored.no_errors,
        stored.no_machine_detail, stored.timing_tagged, stored.made_with_tiny_shakespeare, stored.links_exist, stored.pictures_described,
        stored.headings_descend, stored.good_parameters, stored.short_cells, stored.code_is_led,
    ):  # fmt: skip
        assert check(path) == [], check.__name__


FAULTS = {
    "an id that occurs twice": (stored.valid_format, [code("1")], {"id": "same"}, "the cell id 'same' occurs twice"),
    "a cell of no known kind": (stored.valid_format, [code("1")], {"cell_type": "picture"}, "no valid notebook"),
    "metadata of an editor": (stored.lean_metadata, [code("1")], {"metadata": {"collapsed": True}}, "the metadata 'collapsed'"),
    "a file that is too large": (stored.small_file, ["x" * 1_000_000], {}, "bytes: 1,000,000 are allowed"),
    "a cell that was not executed": (stored.executed_in_order, [code("1")], {"execution_count": None}, "[1, None], not 1 to 2"),
    "cells executed out of order": (stored.executed_in_order, [code("1")], {"execution_count": 7}, "[1, 7], not 1 to 2"),
    "an error": (
        stored.no_errors,
        [code("1/0", outputs=[new_output("error", ename="E", evalue="e", traceback=[])])],
        {},
        "'1/0' shows an error",
    ),
    "a warning": (stored.no_errors, [code("1", outputs=[new_output("stream", name="stderr", text="careful")])], {}, "or a warning"),
    "a home folder": (stored.no_machine_detail, [code("1", "nbval-ignore-output", text="/home/ada/gpt")], {}, "shows '/home/'"),
    "an address": (stored.no_machine_detail, [code("1", text="<Line2D at 0x7f00aa11>")], {}, "shows '0x7f00aa11'"),
    "a speed": (stored.no_machine_detail, [code("1", text="[00:01, 19.81it/s]")], {}, "shows 'it/s]'"),
    "a line that renews itself": (stored.no_machine_detail, [code("1", "nbval-ignore-output", text="1\r2")], {}, "shows '\\r'"),
    "a time without its tag": (stored.timing_tagged, [code("1", text="9/9 steps |██| 00:01 gone, 00:00 left\n")], {}, "shows a time"),
    "another text": (stored.made_with_tiny_shakespeare, [code("1", text="six_plays: 274,893 characters")], {}, "no line starts"),
    "a broken link": (stored.links_exist, ["[there](nowhere.ipynb)"], {}, "nowhere.ipynb does not exist"),
    "a missing picture": (stored.links_exist, ['<img src="../img/none.svg" alt="">'], {}, "../img/none.svg does not exist"),
    "a missing alt text": (stored.pictures_described, ["![](x.svg)"], {}, "alt text '' has fewer than 15"),
    "a short alt text": (stored.pictures_described, ['<img src="x.svg" alt="a curve">'], {}, "alt text 'a curve' has fewer"),
    "a picture tag without alt text": (stored.pictures_described, ['<img src="x.svg">'], {}, "alt text ''"),
    "a second title": (stored.headings_descend, ["# Another"], {}, "2 first-level headings"),
    "a jump between headings": (stored.headings_descend, ["### Deep"], {}, "'### Deep' jumps from level 1 to 3"),
    "two parameters cells": (stored.good_parameters, [code("n = 1", "parameters")], {}, "has 2 cells tagged parameters"),
    "a long setup": (stored.short_cells, [code("x = 1\n" * 11)], {}, "has 11 lines: 10 are allowed"),
    "a long cell": (stored.short_cells, [code("1"), code("x = 1\n" * 26)], {}, "has 26 lines: 25 are allowed"),
    "goals that are missing": (stored.strict_goals, [code("1")], {}, "the goals are {}, not {'val_goal': 1.83, 'train_goal': 1.68}"),
    "goals that nothing is held to": (stored.strict_goals, [code("assert val_goal < loss")], {}, "below val_goal"),
}


@pytest.mark.parametrize("check, cells, change, complaint", FAULTS.values(), ids=FAULTS)
def test_a_stored_lesson_is_rejected_for(lesson, check, cells, change, complaint):
    path = lesson(*cells)
    if change.get("id"):
        nb = json.loads(path.read_text())
        nb["cells"][0]["id"] = change["id"]
        path.write_text(json.dumps(nb))
    edit(path, **change)
    assert any(complaint in said for said in check(path)), check(path)


@pytest.mark.parametrize(
    "source, complaint",
    [
        (None, "has 0 cells tagged parameters: exactly one is needed"),
        (PARAMETERS + "\ntotal = steps * 2", "`total = steps * 2` among the parameters is no `name = literal`"),
        (PARAMETERS.replace('corpus = "auto"', 'corpus = "six_plays"'), "corpus is 'six_plays', not \"auto\""),
        (PARAMETERS.replace("seed = 1337", "seed = None"), "seed is no whole number"),
    ],
)
def test_parameters_are_rejected_where(tmp_path, source, complaint):
    path = write(tmp_path / "07_probe.ipynb", "# A heading", *([code(source, "parameters")] if source else []))
    assert any(complaint in said for said in stored.good_parameters(path))


def test_an_older_format_is_rejected(lesson):
    path = lesson()
    path.write_text(path.read_text().replace('"nbformat_minor": 5', '"nbformat_minor": 4'))
    assert stored.valid_format(path)


def test_code_at_the_very_top_is_rejected(tmp_path):
    assert stored.code_is_led(write(tmp_path / "07_probe.ipynb", code("import torch"))) == ["'import torch' follows nothing that leads to it"]


def test_quick_parameters_that_are_missing_or_unknown_are_rejected(lesson, monkeypatch):
    monkeypatch.setattr(lessons, "QUICK", {"07": {"max_iters": 5}})
    assert "has no parameter 'max_iters'" in stored.quick_parameters_known(lesson())[0]
    assert "lesson 08 has no quick parameters" in stored.quick_parameters_known(lesson(name="08_probe.ipynb"))[0]


def test_goals_that_are_strict_and_used_are_accepted_and_loosened_ones_rejected(tmp_path):
    strict = PARAMETERS + "\nval_goal = 1.83\ntrain_goal = 1.68"
    asserts = code("assert 1.8 <= val_goal and 1.6 < train_goal")
    assert not stored.strict_goals(write(tmp_path / "07_probe.ipynb", "# A", code(strict, "parameters"), asserts))
    loose = strict.replace("1.83", "9.0")
    assert stored.strict_goals(write(tmp_path / "07_probe.ipynb", "# A", code(loose, "parameters"), asserts))


def test_a_rung_off_the_ladder_is_rejected(lesson):
    rungs = new_output("display_data", data={lessons.RESULTS: {"rungs": {"GPT": 1.82, "blocks": 2.13, "new": 1.0}}})
    complaints = stored.rungs_off_the_ladder(lesson(code("1", outputs=[rungs])), {"GPT": 1.83, "blocks": 2.1})
    assert [said.split("'")[1] for said in complaints] == ["blocks", "new"]


def test_only_cells_that_print_text_count_as_compared(lesson):
    figure = new_output("display_data", data={"text/plain": "<Figure size 600x350 with 1 Axes>"})
    cells = [
        code("1", text="1"),
        code("2", outputs=[new_output("execute_result", data={"text/plain": "2"})]),
        code("3", "nbval-ignore-output", text="3"),
        code("4", "exercise", text="4"),
        code("5", outputs=[figure]),
    ]
    assert stored.compared(lesson(*cells)) == (2, 3)


def test_a_readme_with_another_share_is_rejected(tmp_path):
    readme = tmp_path / "README.md"
    assert readme_complaints(readme, 81.4) == ["README.md must say once, in these words: '81 % of the cells that print text are compared'"]
    readme.write_text("Of all outputs 80 % of the cells that\nprint text are compared.")
    assert readme_complaints(readme, 81.4)
    assert not readme_complaints(readme, 80.2)


# ---- Checks of the taught code ----------------------------------------------------------------

HELPER = '''"""A helper."""
import math
import torch.nn.functional as F

# ---- 01 · First ------


def double(x):
    """Twice x."""
    return 2 * x

# ---- 02 · Second ------


class Scale:
    """Scales by the root of D."""

    def __init__(self, D):
        self.factor = 1 / math.sqrt(D)

    def apply(self, x):
        """x, scaled."""
        return x * self.factor
'''
DOUBLE = f"{taught.MARK}\ndef double(x):\n    return 2*x  # twice"
SCALE = taught.MARK + "\n" + HELPER[HELPER.index("class Scale") :]


@pytest.fixture
def course(tmp_path):
    """Writes a helper and two lessons; returns both paths and the helper's."""

    def write_course(first, second, helper=HELPER):
        module = tmp_path / "tinygpt.py"
        module.write_text(helper)
        cells = [[code(source) for source in sources] for sources in (first, second)]
        return [write(tmp_path / f"0{n}_probe.ipynb", "# A", *lesson) for n, lesson in enumerate(cells, 1)], module

    return write_course


def test_taught_code_without_faults_passes_every_check(course):
    paths, helper = course([DOUBLE, "%time\nx = [double for double in 'ab']"], ["from tinygpt import double", SCALE, "y = double(2)"])
    assert taught.drifted(paths, helper) == taught.out_of_order(paths, helper) == []
    assert taught.too_long(helper) == taught.undocumented(helper) == []
    for path in paths:
        assert taught.imported_too_early(path, paths, helper) == []
        assert taught.redefined(path, helper) == taught.aliases_differ(path, helper) == []


DRIFTS = {
    "a definition that drifted": ([DOUBLE.replace("2*x", "3*x")], [SCALE], "double of lesson 01 differs from tinygpt.py"),
    "a method that drifted": ([DOUBLE], [SCALE.replace("x * self", "x / self")], "Scale of lesson 02 differs from tinygpt.py"),
    "a definition taught nowhere": ([DOUBLE], [SCALE.replace("# saved", "# kept")], "Scale is taught in no lesson"),
    "a definition missing in the helper": ([DOUBLE, DOUBLE.replace("double", "triple")], [SCALE], "triple of lesson 01 is missing"),
    "a constant missing in the helper": ([DOUBLE + "\nSIZE = 3"], [SCALE], "SIZE of lesson 01 is missing in tinygpt.py"),
    "a definition taught twice": ([DOUBLE], [SCALE, DOUBLE], "double is taught in lessons 01 and 02"),
    "a definition taught twice in one lesson": ([DOUBLE, DOUBLE], [SCALE], "double is taught in lessons 01 and 01"),
}


@pytest.mark.parametrize("first, second, complaint", DRIFTS.values(), ids=DRIFTS)
def test_taught_code_is_rejected_for(course, first, second, complaint):
    paths, helper = course(first, second)
    assert any(complaint in said for said in taught.drifted(paths, helper)), taught.drifted(paths, helper)


def test_a_helper_in_another_order_than_the_lessons_is_rejected(course):
    complaints = taught.out_of_order(*course([SCALE], [DOUBLE]))
    assert "double comes next in tinygpt.py, Scale in the lessons" in complaints
    assert "Scale stands under lesson 02, but lesson 01 teaches it" in complaints


@pytest.mark.parametrize(
    "source, complaint",
    [
        ("from tinygpt import Scale", "Scale is imported, but taught in 02"),
        ("from tinygpt import double", "double is imported, but taught in 01"),
        ("from tinygpt import triple", "triple is imported, but taught in no lesson"),
        ("from tinygpt import *", "* is imported, but taught in no lesson"),
        ("from tinygpt import double as twice", "double is imported under another name, twice"),
        ("import tinygpt as t", "`import tinygpt` hides what is used"),
    ],
)
def test_an_import_is_rejected(course, source, complaint):
    paths, helper = course([DOUBLE, source], [SCALE])
    assert any(complaint in said for said in taught.imported_too_early(paths[0], paths, helper))


@pytest.mark.parametrize(
    "source, name",
    [
        ("def double(x): return x", "double"),
        ("double, x = 1, 2", "double"),
        ("for double in range(3): pass", "double"),
        ("with open('x') as double: pass", "double"),
        ("if (double := 3): pass", "double"),
        ("Scale.apply = print", "Scale.apply"),
        ("from operator import mul as double", "double"),
    ],
)
def test_another_meaning_for_a_taught_name_is_rejected(course, source, name):
    paths, helper = course([DOUBLE], ["from tinygpt import double", SCALE, source])
    (complaint,) = taught.redefined(paths[1], helper)
    assert complaint.startswith(f"{name} is ")


def test_an_alias_with_another_meaning_is_rejected(course):
    paths, helper = course(["import numpy as F", DOUBLE], [SCALE])
    assert taught.aliases_differ(paths[0], helper) == ["F is numpy here, torch.nn.functional in tinygpt.py"]


def test_a_helper_that_grew_too_long_or_lost_its_docstrings_is_rejected(course):
    _, helper = course([], [], "def long(x):\n" + "    x += 1\n" * 20 + "    # a comment\n\n" + "y = 1\n" * 300)
    assert taught.too_long(helper) == ["321 lines of code: 320 are allowed", "long has 21 lines of code: 20 are allowed"]
    assert taught.undocumented(helper) == ["long has no docstring"]


# ---- make mutate ------------------------------------------------------------------------------


def test_every_mutation_can_be_made_and_changes_what_the_code_says():
    source = (lessons.NOTEBOOKS / "tinygpt.py").read_text(encoding="utf-8")
    for _, before, after in mutate.MUTATIONS:
        assert ast.dump(ast.parse(mutate.mutated(source, before, after))) != ast.dump(ast.parse(source))
