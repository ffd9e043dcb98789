"""A pytest plugin for nbval: a lesson that needs far more memory or time than was recorded for it fails at its last cell.

`make run RECORD=yes` writes the record, budgets.json, from a full run of all lessons.
"""
import functools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

FOLDER = Path(__file__).resolve().parent
RECORD = Path(os.environ.get("TINYGPT_BUDGETS") or FOLDER / "budgets.json")
FACTOR = 2  # times the recorded peak memory
HARD_LIMIT = 900  # seconds for a lesson, on any machine
STARTED, PEAKS = {}, {}  # {path: when its first cell was set up}, {path: MiB}


def peak_memory(pid):
    """The most memory, in MiB, that this process has held; where the system keeps no such record, what it holds now."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().split("\n")
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return psutil.Process(pid).memory_info().rss / 2**20


@functools.cache
def imported():
    """MiB that a process holds which has only imported what the lessons do: PyTorch's builds differ by hundreds."""
    program = "import os, budgets, tinygpt, workbench; print(budgets.peak_memory(os.getpid()))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (FOLDER, FOLDER.parent / "notebooks")))}
    return float(subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True).stdout)


def on_gpu():
    """Whether the lessons use a GPU here: its driver takes memory of which the record, made on a CPU, knows nothing."""
    return (os.environ.get("TINYGPT_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")) != "cpu"


def over_budget(path, peak, seconds):
    """What this lesson took too much of, in a sentence each; nothing is asked of a notebook that is not in the record."""
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {"lessons": {}}
    recorded = record["lessons"].get(Path(path).stem)
    if not recorded or Path(path).parent.name == "solutions":
        return []
    limit = FACTOR * recorded["peak_mib"] + max(0, imported() - record["imported_mib"])
    return [f"{Path(path).name} held {peak:.0f} MiB: {limit:.0f} are allowed, {FACTOR} times what was recorded"] * (peak > limit and not on_gpu()) + [
        f"{Path(path).name} took {seconds:.0f} seconds: {HARD_LIMIT} are allowed"
    ] * (seconds > HARD_LIMIT)


def pytest_runtest_setup(item):
    """Note when the first cell of a notebook begins."""
    if hasattr(item, "cell"):
        STARTED.setdefault(item.path, time.monotonic())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """After each cell look at the kernel's memory; after the last one, when its kernel has been ended, judge."""
    kernel = getattr(item.parent, "kernel", None)
    if hasattr(item, "cell") and kernel is not None:
        try:
            PEAKS[item.path] = max(PEAKS.get(item.path, 0), peak_memory(kernel.km.provisioner.pid))
        except (AttributeError, TypeError, psutil.Error):  # the kernel is gone: nbval says so
            pass
    yield
    if item.path in PEAKS and (nextitem is None or nextitem.path != item.path):
        if complaints := over_budget(item.path, PEAKS[item.path], time.monotonic() - STARTED[item.path]):
            pytest.fail("; ".join(complaints), pytrace=False)
