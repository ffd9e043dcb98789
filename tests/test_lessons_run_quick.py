"""Every lesson runs from top to bottom with its quick parameters, on either text, and without text and network."""
import math
import os
import shutil

import lessons
import pytest
import workbench

TINY_SHAKESPEARE = lessons.ROOT / "data" / "tinyshakespeare.txt"
LEFT_OUT = (".git", ".venv", "runs", "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis", ".ipynb_checkpoints")
NOWHERE = "http://127.0.0.1:9"  # a proxy that refuses at once

each_lesson = pytest.mark.parametrize("path", lessons.LESSONS, ids=lambda path: path.stem)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("TINYGPT_CORPUS", "TINYGPT_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def files(folder):
    """{path: (size, time of the last change)} of everything in the folder but what tools leave there."""
    found = {}
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        for name in names:
            status = os.stat(os.path.join(here, name))
            found[os.path.join(here, name)] = (status.st_size, status.st_mtime_ns)
    return found


def numbers(values):
    """Every number in nested dictionaries and lists."""
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, list):
        return [number for value in values for number in numbers(value)]
    return [values] if isinstance(values, (int, float)) else []


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project, so that nobody else writes into it meanwhile; Tiny Shakespeare comes along where it is."""
    return copy(tmp_path_factory)


@pytest.fixture(scope="module")
def downloaded_project(tmp_path_factory):
    """A copy of the project as it is downloaded: without Tiny Shakespeare."""
    return copy(tmp_path_factory, TINY_SHAKESPEARE.name)


def copy(tmp_path_factory, *left_out):
    root = tmp_path_factory.mktemp("project") / "Übung, 2 Wörter" / "gpt"
    shutil.copytree(lessons.ROOT, root, ignore=shutil.ignore_patterns(*LEFT_OUT, *left_out))
    return root


def run_quick(root, path, output, **given):
    """Execute the lesson in that copy; its results are finite, and nothing in the copy changes. Returns what it printed."""
    before = files(root)
    quick = lessons.QUICK[lessons.number(path)] | {"device": "cpu"} | given
    nb = lessons.execute(root / "notebooks" / path.name, output / path.name, quick)
    assert all(math.isfinite(number) for number in numbers(lessons.results(nb)))
    assert files(root) == before
    return "\n".join(text for cell in lessons.code_cells(nb) for text in lessons.printed(cell))


@each_lesson
def test_a_lesson_runs_on_tiny_shakespeare(path, tmp_path, project):
    workbench.load_corpus("tinyshakespeare")  # downloads it, where it is not there yet and can be had
    if not TINY_SHAKESPEARE.exists():
        reason = "data/tinyshakespeare.txt is missing and cannot be downloaded: put it there"
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)
    assert "1,115,394" in run_quick(project, path, tmp_path, corpus="tinyshakespeare")


@each_lesson
def test_a_lesson_runs_on_the_bundled_plays(path, tmp_path, project):
    assert "274,893" in run_quick(project, path, tmp_path, corpus="six_plays")


@each_lesson
def test_a_lesson_runs_without_a_text_and_without_network(path, tmp_path, downloaded_project, monkeypatch):
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, NOWHERE)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    shown = run_quick(downloaded_project, path, tmp_path)
    assert "Tiny Shakespeare cannot be downloaded" in shown
    assert "274,893" in shown
