"""Checks that tinygpt.py holds what the lessons teach, and nothing else: each returns a list of complaints."""
import ast
import io
import re
import tokenize
from pathlib import Path

import lessons

HELPER = lessons.NOTEBOOKS / "tinygpt.py"
MARK = "# saved in tinygpt.py"
LONGEST_MODULE, LONGEST_FUNCTION = 320, 20  # lines of code
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DOCUMENTED = (*FUNCTIONS, ast.ClassDef, ast.Module)


# ---- Reading definitions ----------------------------------------------------------------------


def docstring(node):
    """The expression that holds the docstring of a function, class or module, or None."""
    return node.body[0] if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None else None


def plain(node):
    """The definition without docstrings, comments and layout."""
    for inner in ast.walk(node):
        if docstring(inner):
            inner.body = inner.body[1:] or [ast.Pass()]
    return ast.unparse(node)


def name_of(node):
    """The name that a top-level statement defines: a function, a class or a constant; else None."""
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        return node.name
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    return target.id if isinstance(target, ast.Name) else None


def definitions(source):
    """{name: definition} in the order of the code."""
    return {name: plain(node) for node in ast.parse(source).body if (name := name_of(node))}


def marked(path):
    """The code of the cells whose definitions are saved in tinygpt.py."""
    return [lessons.python(cell) for cell in lessons.code_cells(lessons.read(path)) if cell.source.startswith(MARK)]


def lessons_that_teach(paths):
    """{name: [number of each lesson that teaches it, in order]}, in the order of the lessons."""
    where = {}
    for path in paths:
        for source in marked(path):
            for name in definitions(source):
                where.setdefault(name, []).append(lessons.number(path))
    return where


def sections(helper):
    """{name: number of the lesson in the line `# ---- 03 · ...` above it}."""
    source = Path(helper).read_text(encoding="utf-8")
    heads = [(n, head.group(1)) for n, line in enumerate(source.split("\n"), 1) if (head := re.match(r"# -+ (\d\d) ", line))]
    return {
        name_of(node): next((number for n, number in reversed(heads) if n < node.lineno), None)
        for node in ast.parse(source).body
        if name_of(node)
    }


def aliases(source):
    """{name: what an import binds to it}, for instance {'F': 'torch.nn.functional'}."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            found |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.asname or name.name.split(".")[0]: name.name if name.asname else name.name.split(".")[0] for name in node.names}
    return found


# ---- The lessons and the helper agree ---------------------------------------------------------


def drifted(paths, helper=HELPER):
    """Every definition is taught exactly once, stands in tinygpt.py, and is the same in both."""
    saved = definitions(Path(helper).read_text(encoding="utf-8"))
    where = lessons_that_teach(paths)
    complaints = [f"{name} is taught in no lesson" for name in saved if name not in where]
    for path in paths:
        for name, code in [item for source in marked(path) for item in definitions(source).items()]:
            if name not in saved:
                complaints.append(f"{name} of lesson {lessons.number(path)} is missing in {Path(helper).name}")
            elif saved[name] != code:
                complaints.append(f"{name} of lesson {lessons.number(path)} differs from {Path(helper).name}")
    return complaints + [f"{name} is taught in lessons {' and '.join(numbers)}" for name, numbers in where.items() if len(numbers) > 1]


def out_of_order(paths, helper=HELPER):
    """tinygpt.py follows the lessons, and its headings name them."""
    headings, where = sections(helper), lessons_that_teach(paths)
    saved = [name for name in headings if name in where]
    expected = [name for name in where if name in headings]
    complaints = [
        f"{here} comes next in {Path(helper).name}, {there} in the lessons" for here, there in zip(saved, expected) if here != there
    ][:1]
    return complaints + [
        f"{name} stands under lesson {headings[name]}, but lesson {where[name][0]} teaches it"
        for name in saved
        if headings[name] != where[name][0]
    ]


def imported_too_early(path, paths, helper=HELPER):
    """A lesson imports from tinygpt, by name, only what earlier lessons taught."""
    module, complaints = Path(helper).stem, []
    where = lessons_that_teach(paths)
    for name, target in [item for cell in lessons.code_cells(lessons.read(path)) for item in aliases(lessons.python(cell)).items()]:
        if target == module:
            complaints.append(f"`import {module}` hides what is used: import names from it")
        elif target.startswith(f"{module}."):
            taught_as = target.removeprefix(f"{module}.")
            if name != taught_as:
                complaints.append(f"{taught_as} is imported under another name, {name}")
            if where.get(taught_as, ["no lesson"])[0] >= lessons.number(path):
                complaints.append(f"{taught_as} is imported, but taught in {where.get(taught_as, ['no lesson'])[0]}")
    return complaints


def bound(nodes):
    """The names, and the attributes of names, that these statements bind outside of functions and classes."""
    for node in nodes:
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            yield ast.unparse(node)
        elif not isinstance(node, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            yield from bound(ast.iter_child_nodes(node))


def redefined(path, helper=HELPER):
    """Outside its marked cell no lesson gives another meaning to a name of tinygpt.py, or patches it."""
    saved = definitions(Path(helper).read_text(encoding="utf-8"))
    complaints = []
    for cell in lessons.code_cells(lessons.read(path)):
        tree = ast.parse(lessons.python(cell))
        if not cell.source.startswith(MARK):
            complaints += [f"{name} is given another meaning" for name in bound(tree.body) if name.split(".")[0] in saved]
        complaints += [
            f"{name} is imported from {target}"
            for name, target in aliases(lessons.python(cell)).items()
            if name in saved and not target.startswith(f"{Path(helper).stem}.")
        ]
    return complaints


def aliases_differ(path, helper=HELPER):
    """A name imported in the lesson and in tinygpt.py means the same in both."""
    ours = aliases(Path(helper).read_text(encoding="utf-8"))
    return [
        f"{name} is {target} here, {ours[name]} in {Path(helper).name}"
        for cell in lessons.code_cells(lessons.read(path))
        for name, target in aliases(lessons.python(cell)).items()
        if ours.get(name, target) != target
    ]


# ---- Size and docstrings ----------------------------------------------------------------------


def docstring_lines(source):
    """The numbers of the lines that docstrings fill."""
    strings = [string for node in ast.walk(ast.parse(source)) if (string := docstring(node))]
    return {n for string in strings for n in range(string.lineno, string.end_lineno + 1)}


def lines_without_docstrings(source):
    """The numbers of the lines that are neither empty nor part of a docstring."""
    return {n for n, line in enumerate(source.split("\n"), 1) if line.strip()} - docstring_lines(source)


def code_lines(source):
    """The numbers of the lines that hold code: no blank lines, comments or docstrings."""
    layout = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.type not in layout]
    return {n for token in tokens for n in range(token.start[0], token.end[0] + 1)} - docstring_lines(source)


def too_long(helper=HELPER):
    """The whole helper can be read in one sitting, each of its functions at a glance."""
    source = Path(helper).read_text(encoding="utf-8")
    lines = code_lines(source)
    complaints = [f"{len(lines)} lines of code: {LONGEST_MODULE} are allowed"] * (len(lines) > LONGEST_MODULE)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, FUNCTIONS):
            length = len(lines & set(range(node.lineno, node.end_lineno + 1)))
            if length > LONGEST_FUNCTION:
                complaints.append(f"{node.name} has {length} lines of code: {LONGEST_FUNCTION} are allowed")
    return complaints


def undocumented(helper=HELPER):
    """Every public function, class and method says what it does."""
    tree = ast.parse(Path(helper).read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    public = [
        node
        for holder in (tree, *classes)
        for node in holder.body
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and not node.name.startswith("_")
    ]
    return [f"{node.name} has no docstring" for node in public if not docstring(node)]
