"""make grade: run handed-in lessons, each in a kernel and a folder of its own, and write which exercises passed.

A hand-in runs with the quick parameters of its lesson, beside the project's own checks.py. What it does to itself - loops,
crashes, floods, files - stays in its own rows of the table. On Linux it can write in its own folder only (confined.py). It is
no prison: it can read what you can read, and use the network, so grade strangers' work under an account made for it.
"""
import argparse
import asyncio
import copy
import csv
import io
import os
import re
import shutil
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from pathlib import Path

import lessons
import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError

sys.path.insert(0, str(lessons.NOTEBOOKS))
import checks
from workbench import write_atomically

CONFINED = Path(__file__).with_name("confined.py")
COLUMNS = ("who", "exercise", "passed", "message")
CELL_SECONDS, SECONDS, MEBIBYTES = 30, 180, 3000  # limits for a cell, a hand-in, and its memory
RETRIES = 3  # times that a hand-in is run again without a cell that ended its kernel
LARGEST_OUTPUT = 1_000_000  # characters that a cell may show
LARGEST_FILE = 100_000_000  # bytes of a file that it may write
LARGEST_HAND_IN = 50_000_000  # bytes of the notebook itself


# ---- Reading ----------------------------------------------------------------------------------


def collect(names):
    """{who: content} of all notebooks in these files and folders, read before any of them runs."""
    paths = {}
    for name in map(Path, names):
        if not name.exists():
            raise ValueError(f"there is no file and no folder {name}")
        found = sorted(name.rglob("*.ipynb")) if name.is_dir() else [name]
        root = name if name.is_dir() else name.parent
        paths |= {path: path.relative_to(root) for path in found if ".ipynb_checkpoints" not in path.parts}
    if not paths:
        raise ValueError("there is no notebook among these files and folders")
    short = [str(who.with_suffix("")) for who in paths.values()]
    whos = short if len(set(short)) == len(short) else [str(path.with_suffix("")) for path in paths]
    return {who: _content(path) for who, path in zip(whos, paths)}


def _content(path):
    try:
        return path.read_bytes() if path.stat().st_size <= LARGEST_HAND_IN else b""
    except OSError:
        return b""


def parse(content):
    """The notebook, its outputs gone. Raises ValueError where it is none."""
    try:
        nb = nbformat.reads(content.decode("utf-8-sig"), as_version=4)
        for cell in nb.cells:
            cell.metadata = nbformat.from_dict({"tags": [tag for tag in cell.metadata.get("tags", []) if tag == "parameters"]})
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
    except Exception as error:  # anything may be in such a file
        raise ValueError(f"the file is no notebook ({type(error).__name__})") from None
    nb.metadata = nbformat.from_dict({"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}})
    return nb


def calls(cell):
    """The exercises whose checks this cell calls."""
    return [label for label, check in checks.CHECKS.items() if re.search(rf"\b{check.__name__}\(", cell.source)]


def lesson_of(nb):
    """'01': the lesson whose checks the notebook calls or imports, else the one that its title names. Raises ValueError."""
    names = [label[:2] for cell in nb.cells for label, check in checks.CHECKS.items() if check.__name__ in cell.source]
    names = names or [title for cell in nb.cells for title in re.findall(r"^# (\d\d) · ", cell.source, flags=re.MULTILINE)]
    names = [name for name in names if name in lessons.QUICK]
    if not names:
        raise ValueError("the notebook is no lesson: no check and no title of a lesson is in it")
    return max(names, key=names.count)


# ---- Running ----------------------------------------------------------------------------------


class Client(NotebookClient):
    """Runs every cell, whatever the earlier ones did, and interrupts the ones that take or print too much."""

    def __init__(self, nb, cell_seconds, folder):
        super().__init__(
            nb, timeout=cell_seconds, interrupt_on_timeout=True, allow_errors=True, kernel_name="python3", record_timing=False,
            store_widget_state=False, extra_arguments=lessons.QUIET_KERNEL,
            resources={"metadata": {"path": str(folder / "notebooks")}},
        )  # fmt: skip
        self.log.setLevel("CRITICAL")
        self.folder = folder
        self.shown, self.flooded, self.place = Counter(), set(), 0
        self.on_cell_start = self._note

    def create_kernel_manager(self):
        """A kernel that is confined to the folder."""
        manager = super().create_kernel_manager()
        manager.kernel_spec.argv = [sys.executable, str(CONFINED), str(self.folder), "-f", "{connection_file}"]
        return manager

    def _note(self, cell, cell_index):
        self.place = cell_index

    def process_message(self, msg, cell, cell_index):
        """Count what each cell shows; beyond the limit drop it and interrupt the cell, once."""
        if msg["msg_type"] in ("stream", "display_data", "execute_result", "update_display_data"):
            self.shown[cell_index] += len(str(msg["content"]))
            if self.shown[cell_index] > LARGEST_OUTPUT:
                if cell_index not in self.flooded:
                    self.flooded.add(cell_index)
                    asyncio.ensure_future(self.km.interrupt_kernel())
                return None
        return super().process_message(msg, cell, cell_index)


class Watchdog(threading.Thread):
    """Ends a kernel and all that it started when its time or its memory is used up; `verdict` then says which."""

    def __init__(self, client, seconds, mebibytes):
        super().__init__(daemon=True)
        self.client, self.stop_at, self.mebibytes = client, time.monotonic() + seconds, mebibytes
        self.seconds, self.verdict, self.done = seconds, "", threading.Event()

    def run(self):
        """Look ten times a second."""
        while not self.done.wait(0.1):
            pid = getattr(getattr(self.client.km, "provisioner", None), "pid", None)
            if pid is None:
                continue
            try:
                kernel = psutil.Process(pid)
                if hasattr(kernel, "rlimit"):  # Linux
                    kernel.rlimit(psutil.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
                family = [kernel, *kernel.children(recursive=True)]
                used = sum(process.memory_info().rss for process in family if process.is_running()) / 2**20
            except psutil.Error:
                continue
            if time.monotonic() > self.stop_at:
                self.verdict = f"the notebook ran longer than {self.seconds} seconds"
            elif used > self.mebibytes:
                self.verdict = f"it needed more than {self.mebibytes} MiB of memory"
            if self.verdict:
                kill(family)
                return


def kill(processes):
    """End these processes, the ones that are gone already included."""
    for process in processes:
        try:
            process.kill()
        except psutil.Error:
            pass


def marked(mark):
    """All running processes that were started with this mark in their environment."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("TINYGPT_GRADING") == mark:
                yield process
        except psutil.Error:
            pass


def environment(home, mark):
    """What a hand-in's kernel gets of the environment: no keys and tokens, a home folder of its own, no network text."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "TEMP", "TMP")}
    return kept | {
        "HOME": str(home), "IPYTHONDIR": str(home), "MPLCONFIGDIR": str(home), "TMPDIR": str(home), "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1", "TINYGPT_GRADING": mark, "TINYGPT_CORPUS": "six_plays",
    }  # fmt: skip


def attempt(nb, files, limits):
    """Execute the notebook in place, in a new folder with these files.

    Returns {place of a cell: what it did to be stopped} and whether the last of them ended the kernel.
    """
    folder, mark = Path(tempfile.mkdtemp(prefix="grade-")), uuid.uuid4().hex
    for path, data in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(data)
    client = Client(nb, limits.cell_seconds, folder)
    watchdog = Watchdog(client, limits.seconds, limits.memory)
    watchdog.start()
    stopped, ended = {}, ""
    try:
        client.execute(env=environment(folder, mark))
    except DeadKernelError:
        ended = "it ended its own kernel"
    except Exception as error:  # one hand-in must not stop the others
        ended = f"it could not be run ({type(error).__name__})"
    finally:
        watchdog.done.set()
        kill(marked(mark))
        shutil.rmtree(folder, ignore_errors=True)
    stopped |= {place: f"it printed more than {LARGEST_OUTPUT:,} characters and was stopped" for place in client.flooded}
    if ended:
        stopped[client.place] = watchdog.verdict or ended
    return stopped, bool(ended)


def run(nb, number, files, limits):
    """The executed hand-in, and {place of a cell: what it did to be stopped}.

    Where a cell ends the kernel, everything is run again without that cell, so that it spoils its own exercise only.
    """
    quick = lessons.QUICK[number] | {"corpus": "six_plays", "device": "cpu"}
    after = next((place for place, cell in enumerate(nb.cells, 1) if "parameters" in cell.metadata.tags), 0)
    nb.cells.insert(after, nbformat.v4.new_code_cell("\n".join(f"{name} = {value!r}" for name, value in quick.items())))
    stopped = {}
    for _ in range(1 + RETRIES):
        executed = copy.deepcopy(nb)
        for place in stopped:
            executed.cells[place].source = ""
        news, ended = attempt(executed, files, limits)
        stopped |= news
        if not ended:
            break
    return executed, stopped


# ---- Judging ----------------------------------------------------------------------------------


def verdicts(nb, executed, number, stopped):
    """{exercise: (passed, message)} of a hand-in and its executed copy."""
    found, wanted = {}, [label for label in checks.CHECKS if label.startswith(number)]
    for cell in executed.cells:
        for output in cell.get("outputs", []):
            result = output.get("data", {}).get(checks.RESULT)
            if isinstance(result, dict) and result.get("exercise") in wanted:
                status, message = str(result.get("status")), str(result.get("message"))
                found[result["exercise"]] = status == checks.PASSED, {checks.PASSED: "", checks.WRONG: message}.get(status, status)
    for label in wanted:
        found.setdefault(label, (False, missing(nb, executed, label, stopped)))
    return dict(sorted(found.items()))


def missing(nb, executed, label, stopped):
    """Why an exercise has no result."""
    places = [place for place, cell in enumerate(nb.cells) if cell.cell_type == "code" and label in calls(cell)]
    if not places:
        return "its check is not called: was the cell deleted?"
    errors = [output for output in executed.cells[places[-1]].get("outputs", []) if output.output_type == "error"]
    if places[-1] in stopped:
        return f"its cell was left out: {stopped[places[-1]]}"
    if errors and errors[-1].ename == "KeyboardInterrupt":
        return "its cell took too long and was stopped"
    if errors:
        return f"its cell failed before the check: {errors[-1].ename}: {errors[-1].evalue}"
    return f"its cell was not reached: {list(stopped.values())[-1]}" if stopped else "its check gave no result"


def project():
    """{path: content} of what a lesson needs beside itself, read once, before any hand-in runs."""
    files = [*lessons.NOTEBOOKS.glob("*.py"), lessons.ROOT / "data" / "six_plays.txt", lessons.ROOT / "data" / "letters.txt"]
    return {path.relative_to(lessons.ROOT): path.read_bytes() for path in files}


def grade(who, content, files, limits):
    """The rows of one hand-in."""
    try:
        nb = parse(content)
        number = lesson_of(nb)
    except ValueError as error:
        return [(who, "", "no", str(error))]
    executed, stopped = run(nb, number, files, limits)
    found = verdicts(nb, executed, number, stopped)
    return [(who, label, "yes" if passed else "no", _cell(message)) for label, (passed, message) in found.items()]


def _cell(text):
    """One line that no spreadsheet takes for a formula."""
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())[:500]
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def write(path, rows):
    """The table so far, all of it or nothing, so that an interrupted marking loses nothing."""
    table = io.StringIO()
    csv.writer(table).writerows([COLUMNS, *rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(table.getvalue().encode("utf-8-sig")))  # spreadsheets want the mark


def main(arguments=None):
    """Returns the exit status: 0 where the table was written, whoever passed; 2 for a wrong request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", help="notebooks, or folders that hold them")
    parser.add_argument("--out", type=Path, default=lessons.ROOT / "runs" / "grades.csv")
    parser.add_argument("--cell-seconds", type=int, default=CELL_SECONDS)
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--memory", type=int, default=MEBIBYTES, help="MiB")
    limits = parser.parse_args(arguments)
    try:
        hand_ins = collect(limits.files)
    except ValueError as error:
        print(f'{error}. Name them as in  make grade FILES="hand-ins/"', file=sys.stderr)
        return 2
    files, rows = project(), []
    for who, content in hand_ins.items():
        mine = grade(who, content, files, limits)
        rows += mine
        write(limits.out, rows)
        passed = sum(row[2] == "yes" for row in mine)
        print(f"{who}: {passed} of {len(mine)} passed" if mine[0][1] else f"{who}: {mine[0][3]}", flush=True)
    print(f"{len(hand_ins)} hand-ins, written to {limits.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
