"""make bench: this project beside plain code and beside transformers, measured in one run.

Every contender is a process of its own. The conductor asks them in turn, round after round, so that whatever else the
machine does falls on all alike; it reports medians, the range over the rounds, and ratios taken round by round.
"""
import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import lessons

sys.path.insert(0, str(lessons.NOTEBOOKS))

SIZES = {  # (L, H, C, T, B)
    "4 blocks, C=64, T=32, B=16": (4, 4, 64, 32, 16),
    "6 blocks, C=192, T=32, B=16": (6, 6, 192, 32, 16),
    "4 blocks, C=128, T=64, B=12": (4, 4, 128, 64, 12),
}
WRITING = dict(block_size=256, n_embd=128, n_head=4, n_layer=4)
FULL = {
    "step": {"rounds": 9, "steps": (40, 12, 20), "product": 1024},
    "quality": {"slices": 20, "plain_steps": 5000, "well_steps": 1400},
    "writing": {"rounds": 5, "batches": (1, 16), "within": (56, 200), "beyond": (256, 50)},
    "bpe": {"rounds": 10, "merges": 1000, "encoded": 200_000, "characters": None},
}
QUICK = {  # the same in seconds, for the tests: its numbers mean nothing
    "step": {"rounds": 2, "steps": (1, 1, 1), "product": 64},
    "quality": {"slices": 2, "plain_steps": 4, "well_steps": 4},
    "writing": {"rounds": 1, "batches": (1, 2), "within": (1, 3), "beyond": (256, 2)},
    "bpe": {"rounds": 2, "merges": 6, "encoded": 2_000, "characters": 3_000},
}


SETTINGS = {"THREADS": "OMP_NUM_THREADS", "CORPUS": "TINYGPT_CORPUS"}  # make's name: the variable it sets


class ContenderFailed(Exception):
    """A contender's process ended or raised; the message says which and why."""


class Contender:
    """A process that answers requests: `contender.run(10)` asks it and waits."""

    def __init__(self, kind, threads, /, **settings):
        self.name = " ".join([kind, str(settings.get("kind", ""))]).strip()
        command = [sys.executable, str(Path(__file__).with_name("contenders.py")), kind, json.dumps(settings)]
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # a pipe would fill up and block
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors}
        self.process = subprocess.Popen(command, env=environment, text=True, **pipes)

    def __getattr__(self, method):
        def ask(*arguments):
            try:
                self.process.stdin.write(json.dumps([method, arguments]) + "\n")
                self.process.stdin.flush()
                answer = self.process.stdout.readline()
            except BrokenPipeError:
                answer = ""
            if not answer.endswith("\n"):  # none, or one cut off
                status = self.process.wait()
                self.errors.seek(0)
                said = self.errors.read().strip().splitlines() or [f"exit status {status}"]
                raise ContenderFailed(f"the contender {self.name} ended at {method}: {said[-1]}")
            return json.loads(answer)

        return ask

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()
        self.errors.close()


class All(dict):
    """Named contenders, started together and ended together."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for contender in self.values():
            contender.__exit__()


def spread(values):
    """The median and the range of a list of numbers."""
    return {"median": median(values), "low": min(values), "high": max(values)}


def in_turn(kinds, turn):
    """The contenders in the order of this round: each comes first in its turn."""
    first = turn % len(kinds)
    return [*kinds[first:], *kinds[:first]]


def shares(operations, seconds, speeds):
    """What part of the machine's own speed, in operations per second, was made use of, from the seconds of each round."""
    return spread([operations / taken / speed for taken, speed in zip(seconds, speeds)])


def first_at(curve, target):
    """Steps and seconds of the first point (steps, seconds, loss) at the target or below; None and None without one."""
    return next(((step, seconds) for step, seconds, loss in curve if loss <= target), (None, None))


def ratios(ours, theirs):
    """How many times quicker `ours` is, from the seconds of each round."""
    return spread([b / a for a, b in zip(ours, theirs)])


# ---- The parts --------------------------------------------------------------------------------


def bench_step(plan, threads, corpus):
    """Time of a training step at three sizes; what share of the machine's own speed it makes use of."""
    from tinygpt import GPTConfig, operations_per_token

    rows, kinds = [], ("reference", "project", "transformers")
    with All({kind: Contender("Trainer", threads, kind=kind, corpus=corpus) for kind in kinds}) as all_:
        all_["product"] = Contender("Product", threads, size=plan["product"])
        for (size, (L, H, C, T, B)), steps in zip(SIZES.items(), plan["steps"]):
            shape = dict(n_layer=L, n_head=H, n_embd=C, block_size=T)
            parameters = {kind: all_[kind].build(shape, B) for kind in kinds}
            seconds, speeds = {kind: [] for kind in kinds}, []
            for turn in range(plan["rounds"] + 1):
                speed = all_["product"].run(20)
                taken = {kind: all_[kind].run(steps) / steps for kind in in_turn(kinds, turn)}
                if turn:  # the first round warms up
                    speeds.append(speed)
                    for kind in kinds:
                        seconds[kind].append(taken[kind])
            operations = operations_per_token(GPTConfig(**shape)) * B * T
            for kind in kinds:
                rows.append({
                    "size": size, "contender": kind, "parameters": parameters[kind],
                    "milliseconds": spread([1000 * s for s in seconds[kind]]),
                    "characters_per_second": B * T / median(seconds[kind]),
                    "against_reference": ratios(seconds[kind], seconds["reference"]),
                    "against_transformers": ratios(seconds[kind], seconds["transformers"]),
                    "gflops": operations / median(seconds[kind]) / 1e9, "product_gflops": median(speeds) / 1e9,
                    "share_of_product_speed": shares(operations, seconds[kind], speeds),
                })  # fmt: skip
    return rows


def bench_quality(plan, threads, corpus):
    """Seconds of training, evaluation excluded, to the loss with which the reference ends its plain recipe."""
    shape = dict(n_layer=4, n_head=4, n_embd=64, block_size=32)
    steps = {"reference, plain recipe": plan["plain_steps"], "project, plain recipe": plan["plain_steps"],
             "project, lesson 09": plan["well_steps"]}  # fmt: skip
    curves = {name: [] for name in steps}
    with All() as all_:
        for name, kind in zip(steps, ("reference", "project", None)):
            all_[name] = (
                Contender("Trainer", threads, kind=kind, corpus=corpus) if kind else
                Contender("WellTrained", threads, max_iters=plan["well_steps"], corpus=corpus)
            )  # fmt: skip
        for contender in all_.values():
            contender.build(shape, 16)
        for turn in range(1, plan["slices"] + 1):
            for name in in_turn(list(steps), turn):
                done, seconds = (curves[name][-1][:2]) if curves[name] else (0, 0.0)
                now = steps[name] * turn // plan["slices"]
                seconds += all_[name].run(now - done)
                curves[name].append((now, seconds, all_[name].loss()))
    target = curves["reference, plain recipe"][-1][2]
    reached = {name: first_at(curve, target) for name, curve in curves.items()}
    rows = []
    for name, curve in curves.items():
        step, seconds = reached[name]
        rows.append({
            "contender": name, "steps": curve[-1][0], "seconds": curve[-1][1], "loss": curve[-1][2], "target": target,
            "step_at_target": step, "seconds_to_target": seconds,
            "against_reference": seconds and reached["reference, plain recipe"][1] / seconds, "curve": curve,
        })  # fmt: skip
    return rows


def bench_writing(plan, threads, corpus):
    """Characters per second, within the context and beyond it, one text and several at once."""
    rows = []
    kinds = ("plain", "cached", "cached and bare", "transformers")
    with All({kind: Contender("Writer", threads, kind=kind, shape=WRITING) for kind in kinds}) as all_:
        for B in plan["batches"]:
            for place in ("within", "beyond"):
                prompt, new = plan[place]
                fit = [kind for kind in kinds if place == "within" or kind != "transformers"]  # it has no positions there
                seconds, texts = {kind: [] for kind in fit}, {}
                for turn in range(plan["rounds"] + 1):
                    for kind in in_turn(fit, turn):
                        taken, texts[kind] = all_[kind].run(B, prompt, new)
                        seconds[kind] += [taken] if turn else []
                if any(texts[kind] != texts["plain"] for kind in fit if kind != "transformers"):
                    raise ContenderFailed("cached writing and plain writing differ: nothing is compared")
                for kind in fit:
                    rows.append({
                        "place": place, "batch_size": B, "prompt": prompt, "new_characters": new, "contender": kind,
                        "characters_per_second": B * new / median(seconds[kind]), "seconds": spread(seconds[kind]),
                        "against_plain": ratios(seconds[kind], seconds["plain"]),
                    })  # fmt: skip
    return rows


def bench_bpe(plan, threads, corpus):
    """Training and encoding speed of byte-pair encoding against code that recounts everything at every merge."""
    settings = dict(corpus=corpus, characters=plan["characters"])
    with All(plain=Contender("PlainBPE", 1, **settings), project=Contender("ProjectBPE", 1, **settings)) as all_:
        ours, plain = [], []
        for turn in range(plan["rounds"]):
            done = plan["merges"] * turn // plan["rounds"]
            plain.append(all_["plain"].run(plan["merges"] * (turn + 1) // plan["rounds"] - done))
            ours.append(all_["project"].run(plan["merges"]))
        if all_["plain"].learned() != all_["project"].learned():
            raise ContenderFailed("the two learned other merges: nothing is compared")
        encoding = {"plain": [], "project": []}
        for _ in range(3):
            found = {name: all_[name].encode(plan["encoded"]) for name in encoding}
            if found["plain"][1] != found["project"][1]:
                raise ContenderFailed("the two encoded the text differently: nothing is compared")
            for name, (seconds, _) in found.items():
                encoding[name].append(seconds)
    return [
        {"task": f"learn {plan['merges']} merges", "plain_seconds": sum(plain), "project_seconds": spread(ours),
         "times_faster": spread([sum(plain) / seconds for seconds in ours])},
        {"task": f"encode {plan['encoded']:,} characters", "plain_seconds": median(encoding["plain"]),
         "project_seconds": spread(encoding["project"]), "times_faster": ratios(encoding["project"], encoding["plain"])},
    ]  # fmt: skip


PARTS = {"step": bench_step, "quality": bench_quality, "writing": bench_writing, "bpe": bench_bpe}


# ---- What it was measured on ------------------------------------------------------------------


def machine(threads):
    """Processor, versions, threads, date, commit: what a reader must know to judge the numbers."""
    import torch
    import transformers

    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), cpu)
    how = "as given" if os.environ.get("OMP_NUM_THREADS") else "as measured"
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=lessons.ROOT, capture_output=True, text=True).stdout.strip()
    return {
        "processor": cpu, "cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version(),
        "torch": torch.__version__, "transformers": transformers.__version__, "threads": f"{threads} ({how})",
        "date": datetime.date.today().isoformat(), "commit": commit or "unknown",
    }  # fmt: skip


# ---- Tables and figure ------------------------------------------------------------------------


def ranged(value, form="{:.1f}"):
    """'1.5 (1.4 to 1.6)' of a median and its range."""
    return "{} ({} to {})".format(*(form.format(value[key]) for key in ("median", "low", "high")))


COLUMNS = {  # part: {heading: how a row fills it}
    "step": {
        "size": lambda row: row["size"],
        "contender": lambda row: row["contender"],
        "parameters": lambda row: f"{row['parameters']:,}",
        "ms per step": lambda row: ranged(row["milliseconds"]),
        "characters/s": lambda row: f"{row['characters_per_second']:,.0f}",
        "× reference": lambda row: ranged(row["against_reference"], "{:.2f}"),
        "× transformers": lambda row: ranged(row["against_transformers"], "{:.2f}"),
        "share of product speed": lambda row: f"{row['share_of_product_speed']['median']:.0%}: {row['gflops']:.0f} of {row['product_gflops']:.0f} GFLOP/s",
    },
    "quality": {
        "contender": lambda row: row["contender"],
        "steps": lambda row: f"{row['steps']:,}",
        "loss at the end": lambda row: f"{row['loss']:.3f}",
        "seconds in all": lambda row: f"{row['seconds']:.0f}",
        "seconds to the target": lambda row: f"{row['seconds_to_target']:.0f}" if row["seconds_to_target"] else "not reached",
        "× reference": lambda row: f"{row['against_reference']:.2f}" if row["against_reference"] else "",
    },
    "writing": {
        "where": lambda row: f"{row['place']} the context",
        "B": lambda row: row["batch_size"],
        "prompt": lambda row: row["prompt"],
        "new": lambda row: row["new_characters"],
        "contender": lambda row: row["contender"],
        "characters/s": lambda row: f"{row['characters_per_second']:,.0f}",
        "× plain": lambda row: ranged(row["against_plain"], "{:.2f}"),
    },
    "bpe": {
        "task": lambda row: row["task"],
        "plain, seconds": lambda row: f"{row['plain_seconds']:.1f}",
        "project, seconds": lambda row: ranged(row["project_seconds"], "{:.2f}"),
        "times faster": lambda row: ranged(row["times_faster"]),
    },
}


def markdown(record):
    """The whole record as Markdown: the machine of each part, and a table."""
    lines = ["# Benchmark", "", "Medians, in brackets the range over the rounds; × means how many times quicker.", ""]
    for part in PARTS:
        if part in record:
            rows, columns = record[part]["rows"], COLUMNS[part]
            lines += [f"## {part}: {PARTS[part].__doc__}", "", f"`{record[part]['command']}` · " + ", ".join(
                f"{name} {value}" for name, value in record[part]["machine"].items()), ""]  # fmt: skip
            lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
            lines += ["| " + " | ".join(str(fill(row)) for fill in columns.values()) + " |" for row in rows] + [""]
    return "\n".join(lines)


def draw(record, path):
    """How many times quicker, part by part, as bars."""
    import matplotlib.pyplot as plt
    from workbench import BLACK, BLUE, ORANGE

    bars = {}  # part: [(label, ratio)]
    for row in record.get("step", {}).get("rows", []):
        if row["contender"] != "reference":
            bars.setdefault("A training step", []).append((f"{row['contender']}: {row['size']}", row["against_reference"]["median"]))
    for row in record.get("quality", {}).get("rows", [])[1:]:
        bars.setdefault("Training to the same loss", []).append((row["contender"], row["against_reference"] or 0))
    for row in record.get("writing", {}).get("rows", []):
        if row["contender"] != "plain":
            label = f"{row['contender']}, {row['place']} the context, B={row['batch_size']}"
            bars.setdefault("Writing", []).append((label, row["against_plain"]["median"]))
    for row in record.get("bpe", {}).get("rows", []):
        bars.setdefault("Byte-pair encoding", []).append((row["task"], row["times_faster"]["median"]))
    heights = [len(rows) + 1.5 for rows in bars.values()]
    fig, axes = plt.subplots(len(bars), figsize=(7, 0.34 * sum(heights)), height_ratios=heights, squeeze=False)
    for ax, (name, rows) in zip(axes[:, 0], bars.items()):
        drawn = ax.barh(*zip(*rows), color=[ORANGE if label.startswith("transformers") else BLUE for label, _ in rows])
        ax.bar_label(drawn, [f" {ratio:.1f} ×" if ratio else " not reached" for _, ratio in rows])
        ax.axvline(1, color=BLACK, linestyle=":", linewidth=1)
        ax.set_title(f"{name}: × plain code", loc="left")
        ax.invert_yaxis()
        ax.margins(x=0.12)
    fig.savefig(path, metadata={"Software": None})
    plt.close(fig)


# ---- The command ------------------------------------------------------------------------------


def main(arguments=None, folder=None):
    """Returns the exit status: 0 where every part was measured, 1 where one failed, 2 for a wrong request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default="", help=f"some of {', '.join(PARTS)}; all by default")
    parser.add_argument("--corpus", default="auto")
    parser.add_argument("--quick", action="store_true", help="everything in seconds, for the tests; the numbers mean nothing")
    options = parser.parse_args(arguments)
    parts = options.parts.split() or list(PARTS)
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        print(f"there is no part {unknown[0]!r}: choose from {', '.join(PARTS)}", file=sys.stderr)
        return 2
    from workbench import choose_threads, write_atomically

    threads, failed = choose_threads(), False
    folder = folder or lessons.ROOT / "runs" / ("quick" if options.quick else "")
    kept = folder / "bench.json"
    record = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    folder.mkdir(parents=True, exist_ok=True)
    command = ["python tests/bench.py --quick" if options.quick else "make bench"]
    command += [f'BENCH="{" ".join(parts)}"'] if options.parts else []
    command += [f"{name}={os.environ[key]}" for name, key in SETTINGS.items() if os.environ.get(key)]
    for part in parts:
        print(f"{part}: {PARTS[part].__doc__}", flush=True)
        plan = (QUICK if options.quick else FULL)[part]
        try:
            rows = PARTS[part](plan, threads, options.corpus)
        except ContenderFailed as error:
            print(f"{part} was not measured: {error}", file=sys.stderr)
            failed = True
            continue
        record[part] = {"command": " ".join(command), "plan": plan, "machine": machine(threads), "rows": rows}
        write_atomically(kept, lambda file: file.write((json.dumps(record, indent=1) + "\n").encode()))
        (folder / "bench.md").write_text(markdown(record), encoding="utf-8")
        draw(record, folder / "bench.png")
    if record:
        print(markdown(record))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
