"""Broken files written by hand, all of whose defects are found where they are; and good ones."""

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tuner.data import Source, read
from tuner.data.check import Checks
from tuner.types import Limits

HERE = Path(__file__).parent


def declared(table):
    """File name, how to read it, and what is said of it, of every line that is no comment."""
    cases = []
    for line in (HERE / table).read_text().splitlines():
        if not line.startswith("#"):
            named, what = line.split("  ", 1)
            name, *options = named.split()
            how = dict(each.split("=") for each in options)
            cases.append(pytest.param(name, how, what.strip(), id=name))
    return cases


def look(path, options):
    """The problems of a file, and how many good rows it has."""
    how = {"encoding": "utf-8", "multi_turn": "refuse", "limits": "40000/5000"} | options
    text_input_chars, output_chars = map(int, how.pop("limits").split("/"))
    checks = Checks(Limits(text_input_chars, output_chars, None))
    problems, rows = [], 0
    for batch in read(Source((path,), **how)):
        rows += len(batch.lines)
        problems += checks.train(batch)
    problems += checks.finish()
    return [each for each in problems if each.rule != "few-examples"], rows


def as_declared(problem, places):
    """``3:7 rule``, or what is declared for it with stars for numbers."""
    said = f"{problem.line}:{problem.column} {problem.rule}"
    return next((place for place in places if fnmatchcase(said, place)), said)


@pytest.mark.parametrize(("name", "options", "defects"), declared("broken/places.txt"))
def test_every_defect_is_found_where_it_is_and_nothing_else(name, options, defects):
    path, places = HERE / "broken" / name, defects.split(", ")

    problems, _ = look(path, options)

    assert sorted(as_declared(each, places) for each in problems) == sorted(places)
    assert {each.path for each in problems} == {str(path)}
    assert all(each.what and each.fix for each in problems)


@pytest.mark.parametrize(("name", "options", "count"), declared("good/rows.txt"))
def test_a_good_file_is_read_whole_and_nothing_is_found_in_it(name, options, count):
    assert look(HERE / "good" / name, options) == ([], int(count))


@pytest.mark.parametrize(("folder", "table"), [("broken", "places.txt"), ("good", "rows.txt")])
def test_every_file_is_in_its_table_once(folder, table):
    names = [each.id for each in declared(f"{folder}/{table}")]

    assert [*sorted(names), table] == sorted(
        (each.name for each in (HERE / folder).iterdir()), key=lambda name: (name == table, name)
    )
