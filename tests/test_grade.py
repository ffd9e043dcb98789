"""make grade: hand-ins, most of them broken in ways of their own, and each spoils only its own rows."""
import argparse
import csv
import tempfile

import checks
import confined
import grade
import lessons
import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

RIGHT = {
    "01.1": "import math\ncheck_loss_of_cab(math.log(3))",
    "01.3": "def mine(ids, V):\n    return torch.bincount(ids[:-1] * V + ids[1:], minlength=V * V).view(V, V)\ncheck_count_pairs(mine)",
    "01.5": "check_rows_sum_to_one(lambda p: torch.allclose(p.sum(1), torch.ones_like(p[:, 0])))",
}
LEAVES_A_PROCESS = "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
HAND_INS = {  # {who: what stands before the check of 01.3}
    "right": "",
    "loops": "while True:\n    pass\n",
    "will not stop": "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True:\n    pass\n",
    "dies": "import os\nos._exit(1)\n",
    "leaves": "exit()\n",
    "floods": "while True:\n    print('x' * 1000)\n",
    "hoards": "hoard = []\nwhile True:\n    hoard.append(torch.ones(10**7))\n",
    "spoils files": "import pathlib, shutil\n[path.unlink() for path in pathlib.Path('.').glob('*.py')]\nshutil.rmtree('../data')\npathlib.Path('junk').write_text('x')\n",
    "leaves a process": LEAVES_A_PROCESS,
    "cannot be parsed": "def f(:\n",
    "writes elsewhere": "open(OUTSIDE, 'a').write('x')\n",
}
ALL = ["01.1", "01.2", "01.3", "01.4", "01.5"]


def hand_in(before="", answers=RIGHT):
    """A notebook that answers these exercises, with this code before the third."""
    cells = [new_markdown_cell("# 01 · Bigram"), new_code_cell("import torch\nfrom checks import *")]
    cells += [new_code_cell(before * (label == "01.3") + answer) for label, answer in answers.items()]
    return new_notebook(cells=cells)


def project_files():
    return {path: path.read_bytes() for path in [*lessons.NOTEBOOKS.glob("*.py"), *(lessons.ROOT / "data").glob("*.txt")]}


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    """{who: {exercise: (passed, message)}} of one marking of all the hand-ins, and what was left behind."""
    folder, temporary = tmp_path_factory.mktemp("hand ins"), tmp_path_factory.mktemp("temporary")
    outside = folder / "somebody elses.txt"
    outside.write_text("mine")
    for who, before in HAND_INS.items():
        before = before.replace("OUTSIDE", repr(str(outside)))
        nbformat.write(hand_in(before), folder / f"{who}.ipynb")
    without = {label: answer for label, answer in RIGHT.items() if label != "01.3"}
    nbformat.write(hand_in(answers=without), folder / "deleted a cell.ipynb")
    nbformat.write(hand_in(answers=RIGHT | {"01.1": "check_loss_of_cab(1.585)", "01.3": "check_count_pairs(...)"}), folder / "wrong.ipynb")
    (folder / "no notebook.ipynb").write_text("certainly not")
    nbformat.write(new_notebook(cells=[new_code_cell("print(1)")]), folder / "another.ipynb")
    before, out = project_files(), folder / "grades.csv"
    tempfile.tempdir = str(temporary)
    try:
        assert grade.main([str(folder), "--out", str(out), "--cell-seconds", "12", "--seconds", "45", "--memory", "1500"]) == 0
    finally:
        tempfile.tempdir = None
    assert project_files() == before
    if confined.version():
        assert outside.read_text() == "mine"
    assert not list(temporary.iterdir())
    found = {}
    for row in csv.DictReader(out.read_text(encoding="utf-8-sig").splitlines()):
        found.setdefault(row["who"], {})[row["exercise"]] = (row["passed"], row["message"])
    return found


def test_every_hand_in_has_its_rows_and_nobody_elses(marked):
    assert set(marked) == {*HAND_INS, "deleted a cell", "wrong", "no notebook", "another"}
    assert all(list(marked[who]) == ALL for who in HAND_INS)


@pytest.mark.parametrize("who", HAND_INS)
def test_what_a_cell_does_leaves_the_other_exercises_alone(marked, who):
    assert marked[who]["01.1"] == marked[who]["01.5"] == ("yes", "")


@pytest.mark.parametrize(
    "who, passed, said",
    [
        ("right", "yes", ""),
        ("loops", "no", "its cell took too long and was stopped"),
        ("will not stop", "no", "the notebook ran longer than 45 seconds"),
        ("dies", "no", "it ended its own kernel"),
        ("leaves", "yes", ""),  # a kernel under a program stays
        ("floods", "no", "it printed more than 1,000,000 characters"),
        ("hoards", "no", "it needed more than 1500 MiB of memory"),
        ("spoils files", "yes", ""),
        ("leaves a process", "yes", ""),
        ("cannot be parsed", "no", "its cell failed before the check: SyntaxError"),
        ("writes elsewhere", "no" if confined.version() else "yes", "PermissionError" if confined.version() else ""),
        ("deleted a cell", "no", "its check is not called: was the cell deleted?"),
        ("wrong", "no", "not done yet"),
    ],
)
def test_the_row_says_what_happened(marked, who, passed, said):
    assert marked[who]["01.3"][0] == passed
    assert said in marked[who]["01.3"][1]


def test_a_wrong_answer_carries_the_message_of_its_check(marked):
    assert marked["wrong"]["01.1"] == ("no", "this is in bits: nats come from the natural logarithm")


def test_what_is_no_lesson_gets_one_row_that_says_so(marked):
    assert marked["no notebook"] == {"": ("no", "the file is no notebook (NotJSONError)")}
    assert marked["another"][""][1].startswith("the notebook is no lesson")


def test_no_process_is_left_behind(marked):
    sleeping = [process for process in psutil.process_iter(["cmdline"]) if "import time; time.sleep(600)" in (process.info["cmdline"] or [])]
    assert not sleeping


@pytest.mark.parametrize("wanted", [["nowhere"], []])
def test_a_request_without_notebooks_says_how_to_name_them(wanted, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert grade.main(wanted) == 2
    assert "make grade FILES=" in capsys.readouterr().err


def test_no_text_is_a_formula_to_a_spreadsheet():
    assert grade._cell("=1+1\nand\x1b[31m more") == "'=1+1 and more"


def test_the_environment_of_a_hand_in_holds_no_secrets(monkeypatch, tmp_path):
    monkeypatch.setenv("A_TOKEN", "secret")
    assert "A_TOKEN" not in grade.environment(tmp_path, "mark")


def test_a_lesson_as_it_is_handed_out_and_in_is_marked(tmp_path):
    path = lessons.find("01")
    (row, *_) = rows = grade.grade("somebody", path.read_bytes(), grade.project(), grade_limits())
    assert row[1] == "01.1" and [message for *_, message in rows] == [checks.OPEN] * 5


def test_a_hand_in_that_never_runs_is_given_up(monkeypatch):
    tries = []
    monkeypatch.setattr(grade, "attempt", lambda *given: tries.append(given) or ({0: "it could not be run"}, True))
    rows = grade.grade("somebody", nbformat.writes(hand_in()).encode(), {}, grade_limits())
    assert len(tries) == 1 + grade.RETRIES
    assert {passed for _, _, passed, _ in rows} == {"no"}


def grade_limits():
    return argparse.Namespace(cell_seconds=grade.CELL_SECONDS, seconds=grade.SECONDS, memory=grade.MEBIBYTES)
