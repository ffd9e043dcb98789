"""make run: execute lessons through papermill into runs/, and print what each took and reached."""
import argparse
import ast
import json
import shlex
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import budgets
import lessons

COLUMNS = "{lesson:<24} {seconds:>8} {memory:>9}  {rungs:<36} {result}"


def choose(paths, wanted):
    """The lessons whose numbers (or names) are in the string `wanted`; all where it is empty."""
    chosen = []
    for name in wanted.split():
        found = [path for path in paths if name in (lessons.number(path), path.stem, path.name)]
        if not found:
            raise ValueError(f"there is no lesson {name!r}: choose from {', '.join(map(lessons.number, paths))}")
        chosen += found
    return chosen or paths


def typed(name, text, default):
    """The value that `text` stands for, of the type that the parameter has in the lesson."""
    if isinstance(default, str):
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if type(default) is float and type(value) is int:
        value = float(value)
    if default is not None and type(value) is not type(default):
        raise ValueError(f"{name}={text} is no value for {name}: it takes values such as {default!r}")
    return value


def parse(path, text):
    """'name=value name=value' -> {name: value} for this lesson. Raises ValueError for a name that it does not have."""
    pairs = dict(word.partition("=")[::2] for word in shlex.split(text))
    lessons.check_parameters(path, pairs)
    known = lessons.parameters(path)
    return {name: typed(name, value, known[name]) for name, value in pairs.items()}


def show(row):
    """Print one line of the table."""
    rungs = ", ".join(f"{name} {loss:.3f}" for name, loss in row["rungs"].items())
    seconds, memory = f"{row['seconds']:.1f}", f"{row['peak_mib']:.0f}"
    print(COLUMNS.format(lesson=row["lesson"], seconds=seconds, memory=memory, rungs=rungs, result=row["result"]), flush=True)


def run(jobs, folder):
    """Execute (path, parameters) one after another, each in a fresh process; returns the rows of the table."""
    folder.mkdir(exist_ok=True)
    print(COLUMNS.format(lesson="lesson", seconds="seconds", memory="peak MiB", rungs="rung", result="result"))
    rows = []
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for path, given in jobs:
            row = pool.submit(lessons.measure, path, folder / path.name, given).result()
            rows.append(row | {"parameters": given})
            show(row)
    (folder / "results.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return rows


def main(arguments=None, paths=lessons.LESSONS, folder=lessons.ROOT / "runs"):
    """Returns the exit status: 0 where every lesson passed, 1 where one failed, 2 for a wrong request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lesson", default="", help="numbers of lessons, for instance '03 07'; all by default")
    parser.add_argument("--params", default="", help="for instance 'preset=medium max_iters=100'")
    parser.add_argument("--record", default="", help="any word: write time and memory of all lessons, as they are, into tests/budgets.json")
    options = parser.parse_args(arguments)
    try:
        if options.record and (options.params or options.lesson):
            raise ValueError("the record is made of all lessons with their own parameters: leave LESSON and PARAMS out")
        jobs = [(path, parse(path, options.params)) for path in choose(paths, options.lesson)]
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    rows = run(jobs, folder)
    failed = any(row["result"] != "passed" for row in rows)
    if options.record and not failed:
        record = {row["lesson"]: {"seconds": round(row["seconds"]), "peak_mib": round(row["peak_mib"])} for row in rows}
        budgets.RECORD.write_text(json.dumps({"imported_mib": round(budgets.imported()), "lessons": record}, indent=1) + "\n", encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
