"""What the tests and the make targets share: where the lessons are, their quick parameters, reading and running them."""
import ast
import resource
import sys
import time
from pathlib import Path

import nbformat
import papermill
from IPython.core.inputtransformer2 import TransformerManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
LESSONS = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
SOLUTIONS = sorted((NOTEBOOKS / "solutions").glob("[0-9][0-9]_*.ipynb"))
RESULTS = "application/vnd.tinygpt.results+json"
CELL_TIMEOUT = 600  # seconds, in the tests
RUN_TIMEOUT = 24 * 3600  # in make run: the larger presets train for long
QUIET_KERNEL = ["--log-level=ERROR"]  # else each kernel warns that it talks to this machine without encryption

QUICK = {  # parameters that make a lesson run in seconds, at any loss
    "00": {},
    "01": {"max_iters": 20},
    "02": {"vocab_size": 300},
    "03": {"max_iters": 20, "eval_interval": 10, "eval_iters": 2},
    "04": {"max_iters": 5},
    "05": {"max_iters": 5},
    "06": {"max_iters": 5},
    "07": {"max_iters": 20, "eval_interval": 10, "eval_iters": 2, "overfit_iters": 100, "val_goal": 9.0, "train_goal": 9.0},
    "08": {"max_iters": 5, "token_iters": 2, "texts": 2, "length": 40},
    "09": {
        "range_iters": 10, "compare_iters": 4, "max_iters": 20, "eval_interval": 10, "eval_iters": 2, "val_goal": 9.0, "short_goal": 9.0,
    },
    "10": {"max_iters": 5, "windows_seen": 4},
    "11": {"max_iters": 5, "tune_iters": 2, "amounts": "200 5000"},
    "12": {"smallest_budget": 1e7, "shared_steps": 2},
}
GOALS = {  # upper bounds in nats that a full run reaches; the stored lessons carry exactly these
    "07": {"val_goal": 1.83, "train_goal": 1.68},
    "09": {"val_goal": 1.68, "short_goal": 1.82},
}


class LessonFailed(Exception):
    """A lesson did not run to its end; the message says where and why."""


# ---- Reading ----------------------------------------------------------------------------------


def read(path):
    """The notebook as it is stored, nothing repaired."""
    return nbformat.v4.reads(Path(path).read_text(encoding="utf-8"))


def number(path):
    """'07' of notebooks/07_gpt.ipynb."""
    return Path(path).name[:2]


def find(wanted):
    """The lesson of that number, '07'."""
    return next(path for path in LESSONS if number(path) == wanted)


def tags(cell):
    """The cell's tags, a list."""
    return cell.metadata.get("tags", [])


def code_cells(nb):
    """The cells that hold code, the empty ones left out."""
    return [cell for cell in nb.cells if cell.cell_type == "code" and cell.source.strip()]


def python(cell):
    """The cell's code as plain Python: magics and shell commands become function calls."""
    return TransformerManager().transform_cell(cell.source)


def printed(cell):
    """The texts that the cell shows: streams and plain results, the names of bare figures left out."""
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output.text
        elif not (text := output.get("data", {}).get("text/plain", "")).startswith("<Figure"):
            yield text


def results(nb):
    """Everything that `report` and `show_ladder` kept in the notebook, in one dictionary, the rungs put together."""
    found = {"rungs": {}}
    for cell in code_cells(nb):
        for output in cell.outputs:
            values = dict(output.get("data", {}).get(RESULTS, {}))
            found["rungs"] |= values.pop("rungs", {})
            found |= values
    return found


def definitions_of(path, **given):
    """What the lesson's cells define, by name: imports, functions, classes and CONSTANTS, nothing of it run or trained.

    `given` holds what these expect to find: variables that the lesson's other cells would have made.
    """
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    names = dict(given, __name__=Path(path).stem)
    for cell in code_cells(read(path)):
        kept = [line for line in ast.parse(python(cell)).body if isinstance(line, kinds) or _constant(line)]
        exec(compile(ast.Module(kept, []), f"{Path(path).name}, cell {cell.id}", "exec"), names)  # our own lessons
    return names


def _constant(line):
    return isinstance(line, ast.Assign) and all(isinstance(name, ast.Name) and name.id.isupper() for name in line.targets)


# ---- Parameters -------------------------------------------------------------------------------


def parameters(path):
    """{name: value} of the lesson's one parameters cell. Raises ValueError where it is missing or computes something."""
    cells = [cell for cell in code_cells(read(path)) if "parameters" in tags(cell)]
    if len(cells) != 1:
        raise ValueError(f"{Path(path).name} has {len(cells)} cells tagged parameters: exactly one is needed")
    values = {}
    for line in ast.parse(cells[0].source).body:
        try:
            (target,) = line.targets
            values[target.id] = ast.literal_eval(line.value)
        except (AttributeError, ValueError):
            raise ValueError(f"{Path(path).name}: `{ast.unparse(line)}` among the parameters is no `name = literal`") from None
    return values


def check_parameters(path, given):
    """Raise ValueError where `given` names a parameter that the lesson does not have: papermill itself only warns."""
    known = parameters(path)
    for name in given:
        if name not in known:
            raise ValueError(f"{Path(path).name} has no parameter {name!r}: choose from {', '.join(known)}")


# ---- Running ----------------------------------------------------------------------------------


def execute(path, output, given, timeout=CELL_TIMEOUT):
    """Run a lesson with these parameters from its own folder, write it to `output`, return the executed notebook.

    Raises ValueError for a parameter that the lesson does not have, LessonFailed where the lesson fails.
    """
    check_parameters(path, given)
    try:
        nb = papermill.execute_notebook(
            path, output, given, cwd=Path(path).parent, kernel_name="python3", progress_bar=False, execution_timeout=timeout,
            extra_arguments=QUIET_KERNEL,
        )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        raise LessonFailed(f"failed in cell [{error.exec_count}]: {error.ename}: {error.evalue}") from None
    except DeadKernelError:
        raise LessonFailed(f"the kernel died in cell [{_last_cell(output)}]") from None
    except CellTimeoutError:
        raise LessonFailed(f"cell [{_last_cell(output)}] took longer than {timeout} seconds") from None
    if any(cell.execution_count is None for cell in code_cells(nb)):
        raise LessonFailed(f"the lesson ended itself in cell [{_last_executed(nb)}]")
    return nb


def _last_executed(nb):
    return max(cell.execution_count or 0 for cell in code_cells(nb))


def _last_cell(output):
    """The number of the last cell that was started: papermill keeps the time."""
    return sum(bool(cell.metadata.papermill.start_time) for cell in code_cells(read(output)))


def measure(path, output, given):
    """Run a lesson as `execute` does, in a process of its own: its line of the table of `make run`."""
    start, rungs, result = time.perf_counter(), {}, "passed"
    try:
        rungs = results(execute(path, output, given, RUN_TIMEOUT))["rungs"]
    except LessonFailed as error:
        result = str(error)
    seconds = time.perf_counter() - start
    return {"lesson": Path(path).stem, "seconds": seconds, "peak_mib": peak_memory(), "rungs": rungs, "result": result}


def peak_memory():
    """The most memory, in MiB, that any finished child of this process held: the kernel, where it is the only one."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes or KiB
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 2**20
