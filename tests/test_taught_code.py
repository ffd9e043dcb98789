"""tinygpt.py is what the lessons taught: the same definitions, in the same order, each taught once."""
import lessons
import pytest
import taught

each_lesson = pytest.mark.parametrize("path", lessons.LESSONS, ids=lambda path: path.stem)


def test_every_definition_is_taught_once_and_is_the_same_in_tinygpt():
    assert not taught.drifted(lessons.LESSONS)


def test_tinygpt_follows_the_order_of_the_lessons():
    assert not taught.out_of_order(lessons.LESSONS)


def test_tinygpt_can_be_read_in_one_sitting():
    assert not taught.too_long()


def test_every_public_definition_has_a_docstring():
    assert not taught.undocumented()


@each_lesson
def test_a_lesson_imports_only_what_earlier_lessons_taught(path):
    assert not taught.imported_too_early(path, lessons.LESSONS)


@each_lesson
def test_a_lesson_gives_no_second_meaning_to_a_taught_name(path):
    assert not taught.redefined(path)


@each_lesson
def test_an_imported_name_means_the_same_in_the_lesson_and_in_tinygpt(path):
    assert not taught.aliases_differ(path)
