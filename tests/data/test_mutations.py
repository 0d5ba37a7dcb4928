"""A mutation of a good file is found in its place, and nothing else is."""

from random import Random

import pytest

from tests.data.good_files import DELIMITERS, SHAPES, good
from tests.data.mutations import KINDS
from tuner.data.checks import Checks
from tuner.data.dataset import Source, read
from tuner.types import Limits

pytestmark = pytest.mark.slow

LIMITS = Limits(500, 300, None)
SEEDS = 3


def found(path):
    checks = Checks(LIMITS)
    problems = [each for batch in read(Source((path,))) for each in checks.check_training(batch)]
    problems += checks.finish()
    kept = [each for each in problems if each.rule != "few-examples"]
    return [(each.line, each.column, each.rule) for each in kept]


@pytest.mark.parametrize("name", [*DELIMITERS, *SHAPES])
def test_a_good_file_has_no_problems(tmp_path, name):
    for seed in range(SEEDS):
        (tmp_path / name).write_bytes(good(name, Random(seed)).text.encode())

        assert found(tmp_path / name) == []


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, (_, names) in KINDS.items() for name in names]
)
def test_a_mutation_is_found_in_its_place_and_nothing_else(tmp_path, kind, name):
    mutate, _ = KINDS[kind]
    for seed in range(SEEDS):
        chance = Random(f"{kind} {name} {seed}")
        file = good(name, chance)

        mutant = mutate(file, chance.choice(file.rows[1:]), chance)
        (tmp_path / name).write_bytes(mutant.text.encode("utf-8", "surrogateescape"))

        assert found(tmp_path / name) == [mutant.place], f"seed {seed}"
