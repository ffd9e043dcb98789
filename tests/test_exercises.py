"""Exercises, checks and solutions: open stubs say so, right answers pass, plausible wrong ones get the message meant for them."""
import importlib
import time
from pathlib import Path

import checks
import exercises
import lessons
import pytest
import stored
import torch

WRONG = {  # {check: [(answer, what the message must say), ...]}
    name: answers
    for path in sorted((Path(__file__).parent / "wrong_answers").glob("lesson_*.py"))
    for name, answers in importlib.import_module(f"wrong_answers.{path.stem}").WRONG.items()
}
CASES = [(name, answer, said) for name, answers in WRONG.items() for answer, said in answers]
JUNK = [
    None, 3, -1.5, float("nan"), "x", [], {}, (1, 2), object(), torch.zeros(2, 3), int, torch.nn.Linear, lambda: 5,
    lambda *given, **named: 1 / 0, lambda *given, **named: 3, lambda *given, **named: torch.zeros(1), lambda *given, **named: "x",
]  # fmt: skip
GUIDE = lessons.NOTEBOOKS / "README.md"
SLOWEST = 2  # seconds for one answer
NAMES = {check.__name__: check for check in checks.CHECKS.values()}

each_lesson = pytest.mark.parametrize("path", lessons.LESSONS, ids=lambda path: path.stem)
each_solution = pytest.mark.parametrize("path", lessons.SOLUTIONS, ids=lambda path: path.stem)
each_check = pytest.mark.parametrize("name", NAMES)


# ---- The notebooks ----------------------------------------------------------------------------


@each_lesson
def test_a_lesson_has_three_to_five_exercises_each_with_a_check(path):
    assert not exercises.well_formed(path) + exercises.stubs_tagged(path)


@each_lesson
def test_every_stub_says_that_it_is_not_done_yet(path):
    assert not exercises.reported(path, checks.OPEN)


@each_lesson
def test_solutions_exist_repeat_the_tasks_and_give_reasons(path):
    solution = lessons.NOTEBOOKS / "solutions" / path.name
    assert solution.exists()
    assert not exercises.drifted(path, solution) + exercises.reasoned(solution)


@each_solution
def test_every_solution_passes_its_check(path):
    assert not exercises.reported(path, checks.PASSED)


@each_solution
@pytest.mark.parametrize(
    "check",
    [stored.valid_format, stored.lean_metadata, stored.small_file, stored.executed_in_order, stored.no_errors, stored.no_machine_detail, stored.timing_tagged,
     stored.links_exist, stored.code_is_led],
)  # fmt: skip
def test_solutions_are_stored_as_the_lessons_are(path, check):
    assert not check(path)


@each_lesson
def test_predictions_with_choices_explain_every_choice(path):
    assert not exercises.well_asked(path)
    assert len(exercises.quizzes(path)) >= 2


def test_the_right_choice_stands_at_different_places():
    places = [
        next(place for place, (_, why) in enumerate(choices) if why.startswith("Right:"))
        for path in lessons.LESSONS
        for choices in exercises.quizzes(path)
    ]
    assert all(places.count(place) <= 0.6 * len(places) for place in set(places))


@each_lesson
def test_the_teachers_guide_agrees_with_the_lesson(path):
    assert not exercises.untrue_guide(GUIDE, path)


# ---- The checks -------------------------------------------------------------------------------


@pytest.mark.parametrize("name, answer, said", CASES, ids=[f"{name}: {said}" for name, _, said in CASES])
def test_a_wrong_answer_gets_the_message_meant_for_it(name, answer, said):
    for _ in range(3):  # inputs are random: the message must not depend on them
        start = time.process_time()  # of this process: other work on the machine does not count
        status, message = NAMES[name].judge(answer)
        assert (status, said in message) == (checks.WRONG, True), f"{status}: {message}"
        assert time.process_time() - start < SLOWEST


@each_check
def test_at_least_three_different_mistakes_are_known_for_a_check(name):
    assert len({said for _, said in WRONG.get(name, [])}) >= 3


def test_no_wrong_answer_is_for_a_check_that_does_not_exist():
    assert not set(WRONG) - set(NAMES)


@each_check
def test_a_check_stands_any_answer_and_accepts_none_of_these(name):
    for answer in JUNK:
        status, message = NAMES[name].judge(answer)
        assert status == checks.OPEN or status == checks.WRONG and message, f"{answer}: {status}"


@each_check
def test_an_ellipsis_is_an_open_exercise(name):
    assert NAMES[name].judge(...) == (checks.OPEN, "Replace ... by your answer.")


def test_a_check_neither_raises_nor_moves_the_generator(capsys):
    before = torch.get_rng_state()
    for check in checks.CHECKS.values():
        check(lambda *given, **named: 1 / 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert len(capsys.readouterr().out.strip().split("\n")) == len(checks.CHECKS)


def test_checks_set_no_seed_and_lean_on_no_lesson():
    source = Path(checks.__file__).read_text(encoding="utf-8")
    assert "manual_seed" not in source
    assert not [line for line in source.split("\n") if line.startswith(("from tinygpt", "import tinygpt", "from workbench"))]


def test_a_function_that_changes_what_it_is_given_is_told(capsys):
    def spoils(ids, V):
        ids.clamp_(max=0)
        return torch.zeros(V, V)

    with pytest.raises(checks.Wrong, match="spoils changes its argument"):
        checks.ask(spoils, torch.arange(3), 3)


def test_a_forgotten_return_is_told_from_an_open_stub():
    def stub(x):
        ...

    def forgets(x):
        x = x + 1

    with pytest.raises(checks.NotDone):
        checks.ask(stub, 1)
    with pytest.raises(checks.Wrong, match="forgets returned nothing"):
        checks.ask(forgets, 1)


def test_a_failing_answer_is_told_with_what_it_was_given():
    def divides(x):
        return 1 / x

    with pytest.raises(checks.Wrong, match=r"divides\(0\) raised ZeroDivisionError: division by zero \(line \d+ of its cell\)"):
        checks.ask(divides, 0)


# ---- These tests can fail ---------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path):
    """A copy of lesson 01 or of its solutions with one thing replaced by another in its cells."""

    def change(path, before, after):
        text = path.read_text(encoding="utf-8")
        assert before in text
        (tmp_path / path.name).write_text(text.replace(before, after), encoding="utf-8")
        return tmp_path / path.name

    return change


LESSON, SOLUTION = lessons.LESSONS[1], lessons.SOLUTIONS[1]


@pytest.mark.parametrize(
    "check, before, after, complaint",
    [
        (exercises.well_formed, "### Exercise 2 · change", "### Exercise 3 · change", "exercise 3 stands at place 2"),
        (exercises.well_formed, "### Exercise 5 · bug", "### Exercise 5 · riddle", "headings of exercises"),
        (exercises.well_formed, "**Done when**", "Done when", "no finish line"),
        (exercises.well_formed, "\"check_best_k(best_k)\"", "\"print(best_k)\"", "does not call the check of 01.2"),
        (lambda path: exercises.reported(path, checks.OPEN), '"status": "not done yet"', '"status": "passed"', "the checks said"),
        (lambda path: exercises.drifted(path, SOLUTION), "5 · bug · 6 minutes", "5 · bug · 7 minutes", "the task differs"),
        (exercises.well_asked, "</summary>Right:", "</summary>No:", "has 0 right choices"),
        (exercises.well_asked, "</summary>No:", "</summary>Right:", "right choices"),
        (exercises.well_asked, "**Predict**", "Guess", "does not say"),
    ],
)
def test_a_faulty_lesson_is_rejected(copy, check, before, after, complaint):
    assert not check(LESSON)
    assert complaint in "; ".join(check(copy(LESSON, before, after)))


@pytest.mark.parametrize(
    "before, after, complaint",
    [
        ("running 1 · exercises 42", "running 1 · exercises 45", "45 minutes of exercises are stated, the tasks add up to 42"),
        ("12 points in all", "13 points in all", "points are stated"),
        ("**To discuss.**", "**Discuss.**", "nothing under To discuss."),
    ],
)
def test_a_guide_that_is_not_true_is_rejected(copy, before, after, complaint):
    assert complaint in "; ".join(exercises.untrue_guide(copy(GUIDE, before, after), LESSON))


def test_a_solution_that_fails_is_rejected(copy):
    assert exercises.reported(copy(SOLUTION, '"status": "passed"', '"status": "wrong"'), checks.PASSED)
