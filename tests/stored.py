"""Checks of a lesson as it is stored, without running it: each takes a path and returns a list of complaints."""
import ast
import re
from urllib.parse import unquote

import lessons
import nbformat
import taught

METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
CELL_METADATA = {"tags", "slideshow"}
LARGEST_FILE = 1_000_000  # bytes
SHORTEST_ALT_TEXT = 15  # characters
LONGEST_SETUP, LONGEST_CELL = 10, 25  # lines
PRIVATE = re.compile(r"/(?:home|root|Users|work)/|[A-Z]:\\")  # nowhere
VARIABLE = re.compile(r"/tmp/|/var/|0x[0-9a-f]{6,}|it/s\]|Warning:")  # only where outputs are not compared
TINY_SHAKESPEARE = "tinyshakespeare: 1,115,394 characters, 65 symbols"


def prose(path):
    """The Markdown cells, code blocks and code spans left out."""
    for cell in lessons.read(path).cells:
        if cell.cell_type == "markdown":
            yield re.sub(r"```.*?```|`[^`\n]*`", "", cell.source, flags=re.DOTALL)


def outputs(path):
    """(cell, output) for every output."""
    return [(cell, output) for cell in lessons.code_cells(lessons.read(path)) for output in cell.outputs]


def first_line(cell):
    """How a complaint names a cell."""
    return repr(cell.source.strip().split("\n")[0][:60])


# ---- The file ---------------------------------------------------------------------------------


def valid_format(path):
    """nbformat 4.5, every cell with an id of its own."""
    nb = lessons.read(path)
    ids = [cell.get("id") for cell in nb.cells]
    if (nb.nbformat, nb.nbformat_minor) != (4, 5):
        return [f"format {nb.nbformat}.{nb.nbformat_minor} is not 4.5"]
    if len(set(ids)) < len(ids):
        return [f"the cell id {name!r} occurs twice" for name in sorted(set(ids)) if ids.count(name) > 1]
    try:
        nbformat.validate(nb)
    except nbformat.ValidationError as error:
        return [f"no valid notebook: {error.message}"]
    return []


def lean_metadata(path):
    """The metadata that `make execute` writes, and nothing else."""
    nb = lessons.read(path)
    extra = sorted({key for cell in nb.cells for key in cell.metadata} - CELL_METADATA)
    return ["metadata differs from what `make execute` writes"] * (nb.metadata != METADATA) + [
        f"cells hold the metadata {key!r}" for key in extra
    ]


def small_file(path):
    """Below a megabyte, so that it opens at once on a web page."""
    size = path.stat().st_size
    return [f"{size:,} bytes: {LARGEST_FILE:,} are allowed"] * (size >= LARGEST_FILE)


# ---- Outputs ----------------------------------------------------------------------------------


def executed_in_order(path):
    """Every cell executed once, from top to bottom."""
    counts = [cell.execution_count for cell in lessons.code_cells(lessons.read(path))]
    return [f"executed as {counts}, not 1 to {len(counts)}"] * (counts != list(range(1, len(counts) + 1)))


def no_errors(path):
    """No error and nothing on standard error."""
    return [
        f"{first_line(cell)} shows an error or a warning"
        for cell, output in outputs(path)
        if output.output_type == "error" or output.get("name") == "stderr"
    ]


def no_machine_detail(path):
    """No path, address or speed of the machine that made the outputs, and no line that still renews itself."""
    complaints = []
    for cell in lessons.code_cells(lessons.read(path)):
        text = "\n".join(lessons.printed(cell))
        ignored = "nbval-ignore-output" in lessons.tags(cell)
        if found := PRIVATE.search(text) or (not ignored and VARIABLE.search(text)) or re.search("\r", text):
            complaints.append(f"{first_line(cell)} shows {found.group()!r}")
    return complaints


def timing_tagged(path):
    """A cell whose output says how long something took is tagged timing: every other output is the same every time."""
    cells = [cell for cell in lessons.code_cells(lessons.read(path)) if "timing" not in lessons.tags(cell)]
    return [f"cell {cell.id} shows a time: tag it timing" for cell in cells if any(" gone, " in text for text in lessons.printed(cell))]


def made_with_tiny_shakespeare(path):
    """The line of `prepare` names the text; lesson 00, which only checks the setup, may say it otherwise."""
    texts = [text for cell in lessons.code_cells(lessons.read(path)) for text in lessons.printed(cell)]
    if lessons.number(path) == "00":
        return ["made with another text than Tiny Shakespeare"] * (not any("1,115,394" in text for text in texts))
    lines = [line for text in texts for line in text.split("\n")]
    return [f"no line starts with {TINY_SHAKESPEARE!r}"] * (not any(line.startswith(TINY_SHAKESPEARE) for line in lines))


def compared(path):
    """(how many cells that print text are compared by nbval, how many there are), exercises not counted."""
    cells = [
        cell
        for cell in lessons.code_cells(lessons.read(path))
        if "exercise" not in lessons.tags(cell) and any(text.strip() for text in lessons.printed(cell))
    ]
    return sum("nbval-ignore-output" not in lessons.tags(cell) for cell in cells), len(cells)


def rungs_off_the_ladder(path, ladder, tolerance=0.02):
    """Every measured rung stands on the ladder that later lessons quote, about where it was measured."""
    return [
        f"the rung {name!r} was measured as {loss:.3f}, the ladder says {ladder.get(name)}"
        for name, loss in lessons.results(lessons.read(path))["rungs"].items()
        if abs(loss - ladder.get(name, float("inf"))) > tolerance
    ]


# ---- Markdown ---------------------------------------------------------------------------------


def links_exist(path):
    """Every relative link and picture points at something."""
    targets = [
        target
        for text in prose(path)
        for target in re.findall(r"\]\(\s*<?([^)\s>]+)", text) + re.findall(r"""(?:src|href)=["']([^"']+)""", text)
    ]
    relative = [target for target in targets if not re.match(r"[a-z]+:|#", target)]
    return [f"{target} does not exist" for target in relative if not (path.parent / unquote(target.split("#")[0])).exists()]


def pictures_described(path):
    """Every picture in Markdown has a text for those who do not see it."""
    texts = [alt for text in prose(path) for alt in re.findall(r"!\[([^\]]*)\]", text)]
    for picture in [picture for text in prose(path) for picture in re.findall(r"<img\b[^>]*>", text)]:
        texts += re.findall(r"""alt=["']([^"']*)""", picture) or [""]
    return [f"alt text {alt!r} has fewer than {SHORTEST_ALT_TEXT} characters" for alt in texts if len(alt) < SHORTEST_ALT_TEXT]


def headings_descend(path):
    """One first-level heading at the top; no level is jumped over on the way down."""
    headings = [line for text in prose(path) for line in text.split("\n") if re.match(r"#{1,6} ", line)]
    levels = [len(line.split(" ")[0]) for line in headings]
    complaints = [f"{levels.count(1)} first-level headings: exactly one, at the top, is needed"] * (
        levels.count(1) != 1 or levels[0] != 1
    )
    for before, level, line in zip(levels, levels[1:], headings[1:]):
        if level > before + 1:
            complaints.append(f"{line!r} jumps from level {before} to {level}")
    return complaints


# ---- Cells ------------------------------------------------------------------------------------


def good_parameters(path):
    """One parameters cell of literals, with corpus, device and seed in it."""
    try:
        values = lessons.parameters(path)
    except ValueError as error:
        return [str(error)]
    return [f'{name} is {values.get(name)!r}, not "auto"' for name in ("corpus", "device") if values.get(name) != "auto"] + [
        "seed is no whole number"
    ] * (type(values.get("seed")) is not int)


def short_cells(path):
    """A short setup cell after the parameters; no cell fills the screen but the one that assembles the model."""
    cells, complaints = lessons.code_cells(lessons.read(path)), []
    for before, cell in zip([None, *cells], cells):
        setup = before is not None and "parameters" in lessons.tags(before)
        limit = LONGEST_SETUP if setup else LONGEST_CELL
        lines = len(taught.lines_without_docstrings(lessons.python(cell))) - cell.source.startswith(taught.MARK)
        if lines > limit and not re.search(r"^class GPT\b", cell.source, flags=re.MULTILINE):
            complaints.append(f"{first_line(cell)} has {lines} lines: {limit} are allowed")
    return complaints


def code_is_led(path):
    """Every code cell follows Markdown or another code cell."""
    cells = lessons.read(path).cells
    return [
        f"{first_line(cell)} follows nothing that leads to it"
        for before, cell in zip([None, *cells], cells)
        if cell.cell_type == "code" and (before is None or before.cell_type == "raw")
    ]


def quick_parameters_known(path):
    """The lesson has quick parameters, and all of them are parameters of the lesson."""
    number = lessons.number(path)
    if number not in lessons.QUICK:
        return [f"lesson {number} has no quick parameters in tests/lessons.py"]
    try:
        lessons.check_parameters(path, lessons.QUICK[number])
    except ValueError as error:
        return [str(error)]
    return []


def strict_goals(path):
    """Parameters named *_goal are the strict ones, and an assert holds something below each."""
    values = lessons.parameters(path)
    goals = {name: value for name, value in values.items() if name.endswith("_goal")}
    wanted = lessons.GOALS.get(lessons.number(path), {})
    bounds = {name for cell in lessons.code_cells(lessons.read(path)) for name in upper_bounds(lessons.python(cell))}
    return [f"the goals are {goals}, not {wanted}"] * (goals != wanted) + [
        f"no assert says that something is below {name}" for name in wanted if name not in bounds
    ]


def upper_bounds(source):
    """The names at the right end of `assert ... < name`, in code."""
    for line in ast.walk(ast.parse(source)):
        if isinstance(line, ast.Assert):
            for test in ast.walk(line.test):
                if isinstance(test, ast.Compare) and isinstance(test.ops[-1], (ast.Lt, ast.LtE)):
                    yield ast.unparse(test.comparators[-1])
