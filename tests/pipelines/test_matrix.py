"""A matrix becomes the same variants every time, or says where it is wrong."""

import pytest

from tuner.pipelines.matrix import variants
from tuner.yaml_source import read_document

RANDOM = """\
random:
    count: {count}
    seed: {seed}
    from:
      hyperparameters.learning_rate: {{log: [1e-4, 1e-2]}}
      hyperparameters.epoch_count: {{range: [1, 3]}}
      hyperparameters.batch_size: [4, 16]
"""


def expanded(tmp_path, text):
    path = tmp_path / "matrix.yaml"
    path.write_text(f"matrix:\n  {text}\n")
    document = read_document(path)
    return variants(document.value["matrix"], document)


def labels(tmp_path, text):
    found, problems = expanded(tmp_path, text)
    assert problems == []
    return [variant.label for variant in found]


def draw(tmp_path, count, seed=7):
    return labels(tmp_path, RANDOM.format(count=count, seed=seed))


@pytest.mark.parametrize("form", ["grid: {%s}", "{%s}"])
def test_a_grid_is_every_combination_and_its_last_key_changes_fastest(tmp_path, form):
    keys = "hyperparameters.learning_rate: [1e-3, 3e-4], hyperparameters.batch_size: [8, 16]"

    assert labels(tmp_path, form % keys) == [
        "learning_rate=0.001 batch_size=8",
        "learning_rate=0.001 batch_size=16",
        "learning_rate=0.0003 batch_size=8",
        "learning_rate=0.0003 batch_size=16",
    ]


def test_each_item_of_a_list_is_a_variant(tmp_path):
    found, _ = expanded(tmp_path, "list: [{top_k: 4}, {top_k: 8, description: two words}]")

    assert [variant.label for variant in found] == ["top_k=4", 'top_k=8 description="two words"']
    assert [[each[:2] for each in variant.settings] for variant in found] == [
        [("top_k", 4)],
        [("top_k", 8), ("description", "two words")],
    ]


def test_keys_with_the_same_end_are_written_in_full_in_labels(tmp_path):
    text = "list: [{target.kind: local, evaluation.metric.kind: json, top_k: 1}]"

    assert labels(tmp_path, text) == ["target.kind=local evaluation.metric.kind=json top_k=1"]


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("1e-5", "1e-05"),
        ("true", "true"),
        ("null", "null"),
        ("a,b", '"a,b"'),
        ("{kind: gemini}", '{"kind": "gemini"}'),
        ("[1, 2]", "(1, 2)"),
        ("x" * 60, f'"{"x" * 39}...'),
    ],
)
def test_values_in_labels_are_short_and_unambiguous(tmp_path, value, word):
    assert labels(tmp_path, f"list: [{{description: {value!s}}}]".replace("a,b", "'a,b'")) == [
        f"description={word}"
    ]


def test_equal_labels_are_numbered(tmp_path):
    text = f"description: [{'x' * 60}1, {'x' * 60}2]"

    first, second = labels(tmp_path, text)
    assert second == f"{first} #2"


def test_draws_are_within_their_limits_and_differ(tmp_path):
    found, _ = expanded(tmp_path, RANDOM.format(count=40, seed=1))
    rows = [{each.dotted.rpartition(".")[2]: each.value for each in one.settings} for one in found]

    assert all(1e-4 <= row["learning_rate"] <= 1e-2 for row in rows)
    assert all(float(f"{row['learning_rate']:.3g}") == row["learning_rate"] for row in rows)
    assert {row["epoch_count"] for row in rows} == {1, 2, 3}
    assert {row["batch_size"] for row in rows} == {4, 16}
    assert len({str(row) for row in rows}) == 40


def test_a_larger_count_starts_with_the_draws_of_a_smaller_one(tmp_path):
    assert draw(tmp_path, 20)[:6] == draw(tmp_path, 6)
    assert draw(tmp_path, 6) != draw(tmp_path, 6, seed=8)


MISTAKES = [
    ("[]", "2:3", "keys with values, not nothing"),
    ("8", "2:3", "not the number 8"),
    ("{top_k: 8}", "2:11", "write a list: top_k: [8]"),
    ("{top_k: []}", "2:11", "write a list: top_k: [...]"),
    ("{'top_k.': [8]}", "2:4", "'top_k.'"),
    ("{grid: {top_k: [8]}, list: []}", "2:24", "keep one of them"),
    ("{top_k: [8], random: {}}", "2:4", "keep one of them"),
    ("{grid: [8]}", "2:10", "grid must be keys with values, not a list"),
    ("{list: {top_k: 8}}", "2:10", "list must be a list, not keys with values"),
    ("{list: [{top_k: 8}, {}]}", "2:23", "list[1] must be keys with values, not nothing"),
    ("{random: 6}", "2:12", "count and from"),
    ("{random: {count: 0, from: {top_k: [8]}}}", "2:20", "count must be at least 1, not 0"),
    ("{random: {from: {top_k: [8]}}}", "2:12", "count is missing"),
    ("{random: {count: 1, sed: 1, from: {top_k: [8]}}}", "2:23", "did you mean seed?"),
    ("{random: {count: 1}}", "2:12", "add from:"),
    *(
        (f"{{random: {{count: 1, from: {{top_k: {way}}}}}}}", "2:37", "top_k cannot be drawn")
        for way in ("8", "[]", "{log: [0, 1]}", "{log: [2, 1]}", "{range: [1.5, 2]}",
                    "{range: [1, 2], log: [1, 2]}")
    ),
    ("{random: {count: 3, from: {top_k: [8, 9]}}}", "2:20", "write count: 2"),
    ("{random: {count: 1001, from: {top_k: {range: [1, 9999]}}}}", "2:20", "limit is 1,000"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "where", "words"), MISTAKES)
def test_a_mistake_is_reported_with_its_place_and_a_fix(tmp_path, text, where, words):
    found, (problem,) = expanded(tmp_path, text)

    assert found == []
    assert problem.where == f"{tmp_path}/matrix.yaml:{where}"
    assert words in f"{problem.what}; {problem.fix}"
    assert problem.fix


def test_a_grid_of_millions_is_refused_before_it_is_expanded(tmp_path):
    keys = "\n  ".join(f"a{n}: {list(range(100))}" for n in range(8))
    found, (problem,) = expanded(tmp_path, keys)

    assert found == []
    assert f"{100**8:,} variants" in problem.what
