"""make execute: run lessons in place and store their outputs, and nothing that differs from run to run without need."""
import argparse
import hashlib
import os
import sys
import tempfile
from pathlib import Path

import lessons
import nbformat
import stored
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, CellExecutionError, DeadKernelError
from run import choose

TEXT = lessons.ROOT / "data" / "tinyshakespeare.txt"
SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


def refuse_other_corpora():
    """Raise ValueError unless the lessons will be run on Tiny Shakespeare."""
    if os.environ.get("TINYGPT_CORPUS"):
        raise ValueError("stored outputs are made with Tiny Shakespeare: leave CORPUS (TINYGPT_CORPUS) unset")
    if not TEXT.exists() or hashlib.sha256(TEXT.read_bytes()).hexdigest() != SHA256:
        raise ValueError("stored outputs are made with Tiny Shakespeare: data/tinyshakespeare.txt is missing or altered")


def final_lines(text):
    r"""What a terminal shows in the end: of a line that renews itself with \r, its last state."""
    lines = []
    for line in text.split("\n"):
        shown = ""
        for state in line.split("\r"):
            shown = state + shown[len(state) :]
        lines.append(shown.rstrip() if "\r" in line else line)
    return "\n".join(lines)


def coalesce(outputs):
    """Join the pieces in which printed text arrives: they differ from run to run."""
    joined = []
    for output in outputs:
        before = joined[-1] if joined else {}
        if output.output_type == "stream" and before.get("name") == output.name:
            before.text += output.text
        else:
            joined.append(output)
    return joined


def clean_output(output):
    """Drop what differs from run to run: metadata, widgets, earlier states of a line."""
    if "metadata" in output:
        output.metadata = {}
    if output.output_type == "stream":
        output.text = final_lines(output.text)
    if "application/vnd.jupyter.widget-view+json" in output.get("data", {}):
        output.data = {}  # a widget lives in its kernel; its text says nothing to a reader


def clean(nb):
    """The notebook with lean metadata and outputs."""
    nb.metadata = nbformat.from_dict(stored.METADATA)
    for cell in nb.cells:
        cell.metadata = nbformat.from_dict({key: cell.metadata[key] for key in sorted(stored.CELL_METADATA & set(cell.metadata))})
        if cell.cell_type == "code":
            cell.outputs = coalesce(cell.outputs)
            for output in cell.outputs:
                clean_output(output)
            cell.outputs = [output for output in cell.outputs if output.get("data") != {}]
    return nb


def execute(path):
    """Run one lesson and store it; on any failure the file stays as it was."""
    nb = nbformat.read(path, 4)
    NotebookClient(
        nb, timeout=lessons.CELL_TIMEOUT, kernel_name="python3", record_timing=False, store_widget_state=False,
        resources={"metadata": {"path": str(path.parent)}}, extra_arguments=lessons.QUIET_KERNEL,
    ).execute()  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder) / path.name
        candidate.write_text(nbformat.writes(clean(nb), 4).rstrip("\n") + "\n", encoding="utf-8")
        complaints = stored.executed_in_order(candidate)
        if path.parent.name != "solutions":  # these need no text
            complaints += stored.made_with_tiny_shakespeare(candidate)
        if complaints:
            raise ValueError("; ".join(complaints))
        path.write_bytes(candidate.read_bytes())


def main(arguments=None, paths=lessons.LESSONS + lessons.SOLUTIONS):
    """Returns the exit status: 0 where every lesson was stored, 1 where one failed, 2 for a wrong request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lesson", default="", help="numbers of lessons, for instance '03 07'; all by default")
    options = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the outputs name the number of threads
    try:
        refuse_other_corpora()
        chosen = choose(paths, options.lesson)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    for path in chosen:
        print(f"executing {path.parent.name}/{path.name}", flush=True)
        try:
            execute(path)
        except (CellExecutionError, CellControlSignal, DeadKernelError, ValueError) as error:
            print(f"{path.name} failed and is left as it was: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
