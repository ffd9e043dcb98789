"""What a reader gets without running anything: the lessons as they are stored."""
import re

import lessons
import pytest
import stored
from workbench import LADDER

LEAST_SHARE = 70  # per cent, in the lessons 00 to 07
LEAST_SHARE_LATER = 50  # the later ones train and measure most of what they show


@pytest.fixture(params=lessons.LESSONS, ids=lambda path: path.stem)
def path(request):
    return request.param


def test_there_are_lessons_with_different_numbers():
    numbers = [lessons.number(path) for path in lessons.LESSONS]
    assert numbers and len(numbers) == len(set(numbers))


def test_the_file_is_a_valid_notebook_whose_cells_have_ids_of_their_own(path):
    assert not stored.valid_format(path)


def test_the_metadata_is_lean_and_the_kernel_is_python3(path):
    assert not stored.lean_metadata(path)


def test_the_file_is_smaller_than_a_megabyte(path):
    assert not stored.small_file(path)


def test_every_cell_was_executed_in_order(path):
    assert not stored.executed_in_order(path)


def test_no_output_is_an_error_or_a_warning(path):
    assert not stored.no_errors(path)


def test_no_output_tells_of_the_machine_that_made_it(path):
    assert not stored.no_machine_detail(path)


def test_what_differs_from_run_to_run_is_tagged_timing(path):
    assert not stored.timing_tagged(path)


def test_the_outputs_were_made_with_tiny_shakespeare(path):
    assert not stored.made_with_tiny_shakespeare(path)


def test_every_link_and_picture_points_at_something(path):
    assert not stored.links_exist(path)


def test_every_picture_is_described_in_words(path):
    assert not stored.pictures_described(path)


def test_headings_descend_in_order(path):
    assert not stored.headings_descend(path)


def test_one_cell_holds_the_parameters_as_literals(path):
    assert not stored.good_parameters(path)


def test_cells_fit_a_screen_and_the_setup_is_short(path):
    assert not stored.short_cells(path)


def test_no_code_comes_first(path):
    assert not stored.code_is_led(path)


def test_the_quick_parameters_exist(path):
    assert not stored.quick_parameters_known(path)


def test_the_stored_goals_are_the_strict_ones(path):
    assert not stored.strict_goals(path)


def test_measured_rungs_stand_where_the_ladder_says(path):
    assert not stored.rungs_off_the_ladder(path, LADDER["tinyshakespeare"])


def test_most_outputs_are_compared_and_the_readme_says_how_many():
    core = [path for path in lessons.LESSONS if lessons.number(path) <= "07"]
    share, later = compared_share(core), compared_share(set(lessons.LESSONS) - set(core))
    print(f"{share:.1f} % of the cells that print text are compared, {later:.1f} % in the later lessons")
    assert share >= LEAST_SHARE, f"only {share:.1f} % of the cells that print text are compared: {LEAST_SHARE} % must be"
    assert later >= LEAST_SHARE_LATER
    assert not readme_complaints(lessons.ROOT / "README.md", share)


def compared_share(paths):
    """The per cent of the cells that print text, in all these lessons together, that nbval compares."""
    counts = [stored.compared(path) for path in paths]
    return 100 * sum(compared for compared, _ in counts) / sum(printing for _, printing in counts)


def readme_complaints(readme, share):
    """The README says, rounded to whole per cents, how many outputs are compared."""
    sentence = f"{share:.0f} % of the cells that print text are compared"
    text = " ".join(readme.read_text(encoding="utf-8").split()) if readme.exists() else ""
    said = re.findall(r"(\d+)\s?% of the cells that print text are compared", text)
    return [] if said == [f"{share:.0f}"] else [f"README.md must say once, in these words: {sentence!r}"]
