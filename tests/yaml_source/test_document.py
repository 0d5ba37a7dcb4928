"""YAML with places, read as people mean it."""

import pytest

from tuner.errors import SpecError
from tuner.yaml_source import apply_overrides, read_document


def read(tmp_path, text, environ=None):
    path = tmp_path / "spec.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_document(path, environ or {})


def value(tmp_path, text, environ=None):
    return read(tmp_path, f"key: {text}\n", environ).value["key"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("+3", 3),
        ("-0.5", -0.5),
        (".5", 0.5),
        ("2.", 2.0),
        ("0", 0),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("007", "007"),
        ("-01", "-01"),
        ("0x1F", "0x1F"),
        ("0o17", "0o17"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("190:20", "190:20"),
        ("2026-11-22", "2026-11-22"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("1.2.3", "1.2.3"),
        ("'5'", "5"),
        ('"true"', "true"),
        ("'null'", "null"),
        ("''", ""),
        ("!!str 5", "5"),
        ("NA", "NA"),
        ("=", "="),
        ("<<", "<<"),
    ],
)
def test_scalars_are_read_as_people_mean_them(tmp_path, written, meant):
    found = value(tmp_path, written)

    assert found == meant
    assert type(found) is type(meant)


def test_every_key_and_value_has_its_line_and_column(tmp_path):
    document = read(tmp_path, "é: 1\nlist:\n  - a\n  - {b: c,  d: e}\n")

    assert document.keys["é",][1:] == (1, 1)
    assert document.values["é",][1:] == (1, 4)
    assert document.values["list", 0][1:] == (3, 5)
    assert document.keys["list", 1, "d"][1:] == (4, 13)
    assert document.values["list", 1, "d"][1:] == (4, 16)


def test_a_byte_order_mark_moves_no_column(tmp_path):
    assert read(tmp_path, b"\xef\xbb\xbfa: 1").values["a",][1:] == (1, 4)


def test_a_repeated_key_is_refused_with_the_line_of_the_first(tmp_path):
    document = read(tmp_path, "a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n")

    (problem,) = document.problems
    assert problem.where.endswith(":5:3")
    assert problem.what == "c is already set on line 3"


def test_aliases_and_merges_copy_their_anchor(tmp_path):
    document = read(tmp_path, "base: &b {x: 1, y: 2}\nall: {<<: *b, y: 3}\nmore: *b\n")

    assert document.value["all"] == {"x": 1, "y": 3}
    assert document.value["more"] == {"x": 1, "y": 2}
    assert not document.problems


def test_a_merge_of_a_scalar_is_refused(tmp_path):
    (problem,) = read(tmp_path, "a: &a 5\nb: {<<: *a}\n").problems

    assert problem.rule == "bad-merge"


def bomb():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [bomb(), "a: &a [*a]", "a: &a {<<: *a}", "[" * 100_000, "- " * 100_000, "#" * 2_000_000],
    ids=["billion laughs", "itself", "merged itself", "brackets", "dashes", "two megabytes"],
)
def test_documents_that_are_too_large_or_too_deep_are_refused(tmp_path, text):
    with pytest.raises(SpecError) as error:
        read(tmp_path, text)

    (problem,) = error.value.problems
    assert problem.rule in {"too-big", "syntax"}


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("a: b\n\tc: d", "2:1", "a tab cannot indent YAML"),
        ("a: [1\nb: 2", "2:2", "a comma or a closing bracket is missing before this"),
        ("a: {b: ${X}}", "1:9", "a comma or a closing bracket is missing before this"),
        ("a: b: c", "1:5", "a key and a colon are not expected here"),
        ("a: 'x\nb: 1", "1:4", "a quote opened here is never closed"),
        ("a: @x", "1:4", "a value cannot begin with this character"),
        ("a: *x", "1:4", "no anchor above has this name"),
        ('a: "\\q"', "1:5", "this escape is not known in double quotes"),
        ("a: 1\n---\nb: 2", "2:1", "a second YAML document begins here"),
        ("a: 1\nb", "2:1", "a key without a colon"),
        ("- a\nb: c", "2:1", "a list ends here, but its indentation does not"),
        ("é: \x01", "1:4", "is not YAML: control characters are not allowed"),
        (b"a: 1\nb: \xe9t\xe9", "2:4", "is not UTF-8: byte 0xe9 at offset 8"),
    ],
)
def test_invalid_yaml_is_one_clear_problem(tmp_path, text, where, what):
    with pytest.raises(SpecError) as error:
        read(tmp_path, text)

    (problem,) = error.value.problems
    assert problem.where.removeprefix(f"{tmp_path}/spec.yaml:") == where
    assert problem.what == what
    assert problem.fix


def test_a_missing_file_is_a_problem(tmp_path):
    with pytest.raises(SpecError, match="no such file"):
        read_document(tmp_path / "none.yaml")
    with pytest.raises(SpecError, match="is a directory"):
        read_document(tmp_path)


@pytest.mark.parametrize(
    "text", ["a: !secret x", "a: !!int '5'", "a: !!python/object:os.system {}"]
)
def test_a_tag_is_refused(tmp_path, text):
    (problem,) = read(tmp_path, text).problems

    assert problem.rule == "tag"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("${N}", 3),
        ("'${N}'", "3"),
        ("${NAME}", "Ana"),
        ("for ${NAME}, ${NAME}", "for Ana, Ana"),
        ("${NONE:-5}", 5),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY}", None),
        ("${NONE:-}", None),
        ("$${NAME}", "${NAME}"),
        ("costs $5, or $$6", "costs $5, or $6"),
        ("${TRICK}", "${NAME}"),
        ("${NO}", "no"),
    ],
)
def test_variables_are_replaced_by_their_values(tmp_path, written, meant):
    environ = {"N": "3", "NAME": "Ana", "EMPTY": "", "TRICK": "${NAME}", "NO": "no"}

    assert value(tmp_path, written, environ) == meant


@pytest.mark.parametrize("written", ["${NONE}", "a ${NONE} b", "${1A}", "${A B}", "${"])
def test_an_unset_variable_is_a_problem_with_its_place(tmp_path, written):
    document = read(tmp_path, f"b: 1\na: {written}")

    (problem,) = document.problems
    assert problem.where.endswith(":2:4")
    assert problem.rule == "no-value"


def set_(tmp_path, *settings, text="a: {b: 1, c: [{d: 1}]}\n"):
    return apply_overrides(read(tmp_path, text), settings, {})


@pytest.mark.parametrize(
    ("setting", "meant"),
    [
        ("a.b=2", {"b": 2, "c": [{"d": 1}]}),
        ("a.b=1e-3", {"b": 1e-3, "c": [{"d": 1}]}),
        ("a.b=x=y", {"b": "x=y", "c": [{"d": 1}]}),
        ("a.e.f=true", {"b": 1, "c": [{"d": 1}], "e": {"f": True}}),
        ("a.c.0.d='2'", {"b": 1, "c": [{"d": "2"}]}),
        ("a={x: [1]}", {"x": [1]}),
        ("a=", None),
    ],
)
def test_set_overrides_a_value(tmp_path, setting, meant):
    document = set_(tmp_path, setting)

    assert document.value == {"a": meant}
    assert not document.problems


def test_an_overridden_value_is_located_at_its_option(tmp_path):
    document = set_(tmp_path, "a={x: [1]}", "e.f=2")

    for at in (("a",), ("a", "x", 0), ("e", "f"), ("e",)):
        assert document.problem(at, "wrong").where.startswith("--set ")
    assert ("a", "c", 0) not in document.values


@pytest.mark.parametrize(
    "setting", ["a", "=1", "a..b=1", "a.b.x=1", "a.c.7.d=1", "a.c.d=1", "a=[", "a=${NONE}"]
)
def test_a_wrong_set_is_a_problem_located_at_it(tmp_path, setting):
    document = set_(tmp_path, setting)

    (problem,) = document.problems
    assert problem.path == f"--set {setting}"
    assert problem.line == 0
    assert problem.fix


def test_an_empty_file_can_be_filled_from_the_command_line(tmp_path):
    assert set_(tmp_path, "a.b=1", text="").value == {"a": {"b": 1}}
