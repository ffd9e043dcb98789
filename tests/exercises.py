"""Checks of exercises, predictions and solutions as they are stored: each returns a list of complaints."""
import re
from typing import NamedTuple

import checks
import lessons

HEADING = re.compile(r"### Exercise (\d) · (predict|change|build|bug) · (\d+) minutes\n\n")
SHORTEST_EXPLANATION = 6  # words, for a wrong choice


class Exercise(NamedTuple):
    """An exercise of a notebook: its heading's parts, the text of the task, and the code cell with its check."""

    number: int
    kind: str
    minutes: int
    text: str
    cell: dict


def exercises(path):
    """The exercises of a lesson or of its solutions, in order; the code cell is the next one that calls a check."""
    found, cells = [], lessons.read(path).cells
    for place, cell in enumerate(cells):
        if cell.cell_type == "markdown" and (head := HEADING.match(cell.source)):
            code = next((later for later in cells[place + 1 :] if later.cell_type == "code" and called(later)), None)
            found.append(Exercise(int(head.group(1)), head.group(2), int(head.group(3)), cell.source, code))
    return found


def called(cell):
    """The labels of the exercises whose checks the cell calls, at the beginning of a line."""
    return [label for label, check in checks.CHECKS.items() if re.search(rf"^{check.__name__}\(", cell.source, flags=re.MULTILINE)]


def results(cell):
    """[(exercise, status)] that the checks showed in this cell."""
    shown = [output.get("data", {}).get(checks.RESULT) for output in cell.outputs]
    return [(result["exercise"], result["status"]) for result in shown if result]


# ---- Exercises and solutions ------------------------------------------------------------------


def well_formed(path):
    """Three to five exercises, numbered, of several kinds, each with a finish line and a check of its own."""
    found, number = exercises(path), lessons.number(path)
    complaints = [f"{len(found)} exercises: three to five are wanted"] * (not 3 <= len(found) <= 5)
    complaints += [f"no exercise is a {kind!r}" for kind in ("predict", "build", "bug") if kind not in {one.kind for one in found}]
    for place, one in enumerate(found, 1):
        wanted = f"{number}.{place}"
        complaints += [f"exercise {one.number} stands at place {place}"] * (one.number != place)
        complaints += [f"exercise {place} has no finish line"] * ("**Done when**" not in one.text)
        complaints += [f"exercise {place} does not call the check of {wanted}"] * (one.cell is None or called(one.cell) != [wanted])
    headings = sum(cell.source.count("### Exercise") for cell in lessons.read(path).cells)
    complaints += [f"{headings} headings of exercises, {len(found)} of them well-formed"] * (headings != len(found))
    known = [label for label in checks.CHECKS if label.startswith(number)]
    return complaints + [f"checks.py holds {known} for {len(found)} exercises"] * (len(known) != len(found))


def reported(path, status):
    """Every check of the notebook showed this status, once, as stored."""
    shown = [result for cell in lessons.code_cells(lessons.read(path)) for result in results(cell)]
    wanted = [(label, status) for label in checks.CHECKS if label.startswith(lessons.number(path))]
    return [f"the checks said {shown}, not {wanted}"] * (shown != wanted)


def stubs_tagged(path):
    """The cells that call a check are tagged exercise, so that slides and statistics can leave them out."""
    return [
        f"the cell of {called(cell)} is not tagged exercise"
        for cell in lessons.code_cells(lessons.read(path))
        if called(cell) and "exercise" not in lessons.tags(cell)
    ]


def drifted(lesson, solution):
    """The solutions repeat the tasks word for word."""
    ours, theirs = [one.text for one in exercises(lesson)], [one.text for one in exercises(solution)]
    complaints = [f"{len(ours)} tasks, {len(theirs)} solved"] * (len(ours) != len(theirs))
    return complaints + [f"the task differs: {here[:60]!r}" for here, there in zip(ours, theirs) if here != there]


def reasoned(path):
    """Between each task and its solution stands the reasoning, in words."""
    cells = lessons.read(path).cells
    return [
        f"{cell.source.split(chr(10))[0]!r} is solved without a reason"
        for cell, after in zip(cells, [*cells[1:], None])
        if HEADING.match(cell.source) and (after is None or after.cell_type != "markdown" or len(after.source) < 150)
    ]


# ---- Predictions ------------------------------------------------------------------------------


def quizzes(path):
    """[[(choice, explanation), ...]] of every prediction with choices, in order."""
    found = []
    for cell in lessons.read(path).cells:
        if cell.cell_type == "markdown" and "<details>" in cell.source:
            found.append(re.findall(r"^<details><summary>(.*?)</summary>(.*?)</details>$", cell.source, flags=re.MULTILINE))
    return found


def well_asked(path):
    """Each question has two to four choices, one of them right, and explains every wrong one; choices end their cell."""
    complaints = []
    for cell in lessons.read(path).cells:
        if cell.cell_type != "markdown" or "<details>" not in cell.source:
            continue
        question, _, rest = cell.source.partition("\n\n<details>")
        choices = re.findall(r"<details><summary>(.*?)</summary>(.*?)</details>", rest and "<details>" + rest)
        name = repr(question[-60:])
        complaints += [f"{name} does not say **Predict**"] * ("**predict" not in question.lower())
        complaints += [f"{name}: something else stands among or after the choices"] * (
            "\n".join(f"<details><summary>{choice}</summary>{why}</details>" for choice, why in choices) != "<details>" + rest
        )
        complaints += [f"{name} has {len(choices)} choices"] * (not 2 <= len(choices) <= 4)
        complaints += [f"{name} has {sum(why.startswith('Right:') for _, why in choices)} right choices"] * (
            sum(why.startswith("Right:") for _, why in choices) != 1
        )
        for choice, why in choices:
            complaints += [f"{name}: {choice!r} begins with neither Right: nor No:"] * (not why.startswith(("Right:", "No:")))
            complaints += [f"{name}: {choice!r} is hardly explained"] * (len(re.sub(r"<.*?>", "", why).split()) < SHORTEST_EXPLANATION)
            complaints += [f"{name}: Markdown inside {choice!r}"] * bool(re.search(r"`|\*\*|\$", choice + why))
    return complaints


# ---- The teacher's guide ----------------------------------------------------------------------

PARTS = ("Objectives.", "Minutes.", "Needs.", "Misconceptions.", "To discuss.", "Marking.")
POINTS = {"predict": 1, "change": 2, "bug": 2, "build": 3}


def guide_sections(guide):
    """{'01': the guide's section on lesson 01}."""
    found = re.split(r"^## (?=\d\d · )", guide.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {section[:2]: section for section in found}


def minutes(section):
    """(reading, running, exercises) as a section states them; zeros where it does not."""
    found = re.search(r"\*\*Minutes\.\*\* reading (\d+) · running (\d+) · exercises (\d+)", section)
    return tuple(map(int, found.groups())) if found else (0, 0, 0)


def untrue_guide(guide, path):
    """What the guide says about a lesson agrees with the lesson: parts, minutes, points, exercises."""
    number, found = lessons.number(path), exercises(path)
    section = guide_sections(guide).get(number, "")
    complaints = [f"nothing under {part}" for part in PARTS if f"**{part}**" not in section]
    stated, told = minutes(section), sum(one.minutes for one in found)
    complaints += [f"{stated[2]} minutes of exercises are stated, the tasks add up to {told}"] * (stated[2] != told)
    row = f"| {stated[0]} | {stated[1]} | {stated[2]} | {sum(stated)} |"
    line = next((line for line in guide.read_text(encoding="utf-8").split("\n") if line.startswith(f"| {number} · ")), "")
    complaints += [f"the table says {line!r}, the section {row!r}"] * (not line.endswith(row))
    marking = section.partition("**Marking.**")[2]
    complaints += [f"exercise {number} of the marking does not exist" for number in re.findall(r"exercise (\d)", marking) if int(number) > len(found)]
    points = sum(POINTS[one.kind] for one in found) + len(re.findall(r"\b[Pp]lus 1\b|\b1 more\b", marking))
    said = re.findall(r"(\d+) points", marking)
    complaints += [f"{said} points are stated, {points} can be had"] * (said[-1:] != [str(points)])
    rows = re.findall(r"^\| .*\|$", section.partition("**Misconceptions.**")[2].partition("**To discuss.**")[0], flags=re.MULTILINE)
    return complaints + [f"{len(rows) - 1} misconceptions"] * (not 3 <= len(rows) - 1 <= 6)
