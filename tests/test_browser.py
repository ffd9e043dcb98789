"""JupyterLab in a real browser, started as `make lab` starts it: open a lesson, Run All, and look.

Every lesson with its quick parameters; 00 and 08 as they are. `make test-browser`; the pictures lie in runs/browser/.
"""
import shutil

import browser
import lessons
import nbformat
import pytest
import stored

AS_THEY_ARE = ("00", "08")
LEFT_OUT = (".git", ".venv", "runs", "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis", ".ipynb_checkpoints")
PICTURES = lessons.ROOT / "runs" / "browser"
READY = "window.jupyterapp && jupyterapp.shell.currentWidget?.content?.model && jupyterapp.shell.currentWidget.sessionContext?.isReady"
RUN = "jupyterapp.shell.currentWidget.sessionContext.ready.then(() => jupyterapp.commands.execute('notebook:run-all-cells')).then(() => 0)"
STOP = "jupyterapp.shell.currentWidget.sessionContext.shutdown().then(() => 0)"
MODEL = "jupyterapp.shell.currentWidget.content.model.toJSON()"
PICTURE = """() => [...document.querySelectorAll('.jp-NotebookPanel:not(.lm-mod-hidden) img')].map(
  picture => [picture.alt || picture.src.slice(0, 60), picture.complete && picture.naturalWidth > 0])"""


def quick(path, **more):
    """Put the quick parameters, and others, into the lesson's parameters cell."""
    nb = nbformat.read(path, 4)
    (cell,) = [cell for cell in nb.cells if "parameters" in cell.metadata.get("tags", [])]
    given = lessons.QUICK[lessons.number(path)] | {"device": "cpu"} | more
    cell.source += "\n" + "\n".join(f"{name} = {value!r}" for name, value in given.items())
    nbformat.write(nb, path)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """(a browser, the address of a JupyterLab over a copy of the project, the copy)."""
    root = tmp_path_factory.mktemp("project") / "gpt"
    shutil.copytree(lessons.ROOT, root, ignore=shutil.ignore_patterns(*LEFT_OUT))
    shutil.copytree(root / "notebooks", root / "quick")
    for path in lessons.LESSONS:
        quick(root / "quick" / path.name)
    PICTURES.mkdir(parents=True, exist_ok=True)
    with browser.opened() as opened, browser.jupyterlab(root, tmp_path_factory.mktemp("settings")) as address:
        yield opened, address


def run_all(lab, path, meanwhile=None):
    """Open the notebook, run all cells, scroll through it; returns the page, its cells, and all complaints.

    `meanwhile(page)` is done while the cells run.
    """
    opened, address = lab
    page, complaints = opened.new_page(viewport={"width": 1200, "height": 1400}), []
    page.on("pageerror", lambda error: complaints.append(f"page error: {error}"))
    page.on("request", lambda request: browser.here(request.url) or complaints.append(f"asked for {request.url}"))
    page.goto(address(path))
    page.wait_for_function(READY, timeout=60_000)
    page.set_default_timeout(600_000)
    page.evaluate(f"window.allRun = {RUN}; 0")
    if meanwhile:
        meanwhile(page)
    page.evaluate("window.allRun")
    cells = [cell for cell in page.evaluate(MODEL)["cells"] if cell["cell_type"] == "code"]
    for cell in cells:
        name = cell["source"].split("\n")[0][:60]
        complaints += [f"{name!r}: {output['ename']}: {output['evalue']}" for output in cell["outputs"] if output["output_type"] == "error"]
        complaints += [f"{name!r} was not run"] * (cell["execution_count"] is None and bool(cell["source"].strip()))
    count = page.evaluate("jupyterapp.shell.currentWidget.content.widgets.length")
    for place in range(0, count, 3):
        page.evaluate(f"(() => {{const book = jupyterapp.shell.currentWidget.content; book.activeCellIndex = {place}; book.scrollToItem({place})}})()")
        page.wait_for_timeout(120)
        complaints += [f"the picture {name!r} is broken" for name, whole in page.evaluate(PICTURE) if not whole]
    return page, cells, complaints


def look(lab, path, name):
    """Run the notebook without a complaint, keep a picture of it, and close it."""
    page, cells, complaints = run_all(lab, path)
    page.screenshot(path=PICTURES / f"{name}.png")
    assert not complaints
    assert cells
    page.evaluate(STOP)
    page.close()


@pytest.mark.parametrize("path", lessons.LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_in_jupyterlab_with_its_quick_parameters(lab, path):
    look(lab, f"quick/{path.name}", f"{path.stem}_quick")


@pytest.mark.parametrize("number", AS_THEY_ARE)
def test_a_lesson_runs_in_jupyterlab_as_it_is(lab, number):
    path = lessons.find(number)
    look(lab, f"notebooks/{path.name}", path.stem)


def test_the_sliders_of_lesson_08_move_and_the_figure_changes(lab):
    page, _, complaints = run_all(lab, f"quick/{lessons.find('08').name}")
    assert not complaints
    handle = page.locator(".noUi-handle").first
    handle.scroll_into_view_if_needed()
    before, shown = figures(page), page.locator(".widget-readout").first.inner_text()
    handle.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(3000)
    assert page.locator(".widget-readout").first.inner_text() != shown
    assert figures(page) != before
    page.screenshot(path=PICTURES / "08_sliders.png")
    page.evaluate(STOP)
    page.close()


def figures(page):
    """The pictures that the sliders draw."""
    return page.locator("img.widget-image, .widget-image img").evaluate_all("all => all.map(picture => picture.src)")


def test_the_stop_button_ends_a_training_and_the_cells_below_work_with_its_model(lab):
    opened, address = lab
    path = shutil.copy(lessons.find("07"), address.root / "quick" / "07_stopped.ipynb")
    quick(path, max_iters=1_000_000, eval_interval=500_000)

    def press(page):
        page.wait_for_function(f"JSON.stringify({MODEL}).includes('/1000000 steps')", polling=1000, timeout=300_000)
        page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) [data-command='notebook:interrupt-kernel']").first.click()

    page, cells, complaints = run_all(lab, "quick/07_stopped.ipynb", press)
    said = [output["text"] for cell in cells for output in cell["outputs"] if output["output_type"] == "stream"]
    page.screenshot(path=PICTURES / "07_stopped.png")
    assert not complaints
    assert sum("Stopped before step" in text and "the model is kept as it is" in text for text in said) == 1
    page.evaluate(STOP)
    page.close()


def test_a_notebook_that_fails_is_noticed(lab, tmp_path):
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    nb = new_notebook(cells=[new_markdown_cell("![A picture that is not there](nowhere.png)"), new_code_cell("1 / 0"), new_code_cell("2")], metadata=stored.METADATA)
    opened, address = lab
    nbformat.write(nb, address.root / "faulty.ipynb")
    page, _, complaints = run_all(lab, "faulty.ipynb")
    assert any("ZeroDivisionError" in line for line in complaints)
    assert any("was not run" in line for line in complaints)
    assert any("is broken" in line for line in complaints)
    page.evaluate(STOP)
    page.close()
