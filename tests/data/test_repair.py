"""A repaired copy: what is repaired, what is deleted, and what stays to the letter."""

from __future__ import annotations

import json
import random

import pytest

from tuner.data import USUAL, Columns, Source, read, read_rows
from tuner.data.checks import Checks
from tuner.data.formats.detection import detect
from tuner.data.repair import REPAIRED, RepairOptions, repair
from tuner.errors import DatasetError
from tuner.types import Limits

EASY = Limits(None, None, None)


def repaired(path, *, encoding="utf-8", columns=USUAL, **options):
    """The text of the copy, the changes as (line, rule, after), and line and rule of what is left."""
    source = Source((path,), encoding=encoding, columns=columns)
    rows = list(repair(source, detect(path), RepairOptions(**options)))
    changes = [(each.line, each.rule, each.after) for row in rows for each in row.changes]
    left = [(each.line, each.rule) for row in rows for each in row.left]
    return "".join(row.raw for row in rows), changes, left


def write(tmp_path, text, name="rows.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


def rules(path):
    """The rules of all findings in a file."""
    checks = Checks(EASY)
    source = Source((path,))
    found = [each for batch in read(source) for each in checks.check_training(batch)]
    return {each.rule for each in (*found, *checks.finish())} - {"few-examples"}


def test_a_good_file_stays_to_the_letter(tmp_path):
    text = 'id,text_input,output\r\n 1,"a ""b""\nc",x\r\n\r\n2,NA, y \n"3",é,"z"'

    assert repaired(write(tmp_path, text)) == (text, [], [])


def test_only_a_repaired_row_is_rewritten_and_keeps_its_other_cells(tmp_path):
    path = write(
        tmp_path,
        'note;text_input;output\r\n"k";a\x07;"x"\r\n"one; two\nlines";b\x07;y\r\n"q";c;"z"\r\n',
    )

    assert repaired(path)[0] == (
        'note;text_input;output\r\nk;a;x\r\n"one; two\nlines";b;y\r\n"q";c;"z"\r\n'
    )


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_repaired_row_keeps_the_line_ends_in_its_cells(tmp_path, end):
    text = f'text_input,output\n"a\rb\x07","x\ny"{end}'
    copy, _, left = repaired(write(tmp_path, text))

    assert not left
    assert [
        (each.text_input, each.output) for each in read_rows(Source((write(tmp_path, copy),)))
    ] == [("a\rb", "x\ny")]


def test_every_change_of_csv_is_reported_with_its_line(tmp_path):
    path = write(
        tmp_path,
        'text_input,output\n"two\nlines",x\na\x07,x\n,x\nb, \nc,x,,\nc,x\nd,cafÃ©\n',
    )

    copy, changes, left = repaired(path)

    assert changes == [
        (4, "control-character", "a"),
        (5, "empty-text-input", None),
        (6, "empty-output", None),
        (7, "ragged-row", "2 cells"),
        (8, "duplicate", None),
        (9, "mojibake", "café"),
    ]
    assert copy == 'text_input,output\n"two\nlines",x\na,x\nc,x\nd,café\n'
    assert left == []


def test_numbers_in_json_become_texts_as_they_are_written(tmp_path):
    path = write(
        tmp_path,
        '{"id": 1.0, "text_input": 1e5, "output": true,"x":[1,  2]}\n'
        '{"text_input": 007, "output": "a"}\n{"text_input": null, "output": "a"}\n'
        '{"text_input": NaN, "output": "a"}\n{"text_input": [1], "output": "a"}\n',
        "rows.jsonl",
    )

    copy, changes, left = repaired(path)

    lines = copy.splitlines()
    assert lines[0] == '{"id": 1.0, "text_input": "1e5", "output": "true","x":[1,  2]}'
    assert lines[1:] == path.read_text().splitlines()[1:]
    assert changes == [(1, "not-text", '"1e5", "true"')]
    assert [line for line, _ in left] == [2, 3, 4, 5]


def test_other_keys_and_spaces_of_an_object_stay(tmp_path):
    path = write(
        tmp_path,
        '{ "k": 1e9,"text_input" : "a\\u0000\\u00e9" , "m":{"n":null}, "output":"x\\ud800"}\r\n',
        "rows.jsonl",
    )

    assert repaired(path)[0] == (
        '{ "k": 1e9,"text_input" : "aé" , "m":{"n":null}, "output":"x"}\r\n'
    )


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [{"role": "system", "content": "s\x07"}, {"role": "user", "content": "cafÃ©"},
                      {"role": "assistant", "content": "x\x07", "weight": 1}], "id": 7},
        {"prompt": "cafÃ©", "completion": "x\x07", "id": 1},
        {"instruction": "s\x07", "input": "cafÃ©", "output": "x"},
        {"contents": [{"role": "user", "parts": [{"text": "cafÃ©"}]},
                      {"role": "model", "parts": [{"text": "x\x07"}]}]},
        {"conversations": [{"from": "human", "value": "cafÃ©"}, {"from": "gpt", "value": "x\x07"}]},
    ],
    ids=lambda record: next(iter(record)),
)  # fmt: skip
def test_texts_are_repaired_in_place_in_any_record_format(tmp_path, record):
    text = json.dumps(record)
    path = write(tmp_path, f"{text}\n", "rows.jsonl")

    copy, changes, _ = repaired(path)

    good = text.replace("\\u0007", "").replace("caf\\u00c3\\u00a9", "café")
    assert json.loads(copy) == json.loads(good)
    assert {line for line, _, _ in changes} == {1}


def test_what_cannot_be_repaired_is_listed_and_stays_unless_bad_rows_are_dropped(tmp_path):
    text = 'text_input,output\na,x\nshort\n"open,y\nb,z\nc,x,more\n'
    path = write(tmp_path, text)

    copy, changes, left = repaired(path)
    dropped, gone, _ = repaired(path, drop_bad=True)

    assert copy == text
    assert changes == []
    assert left == [(3, "ragged-row"), (4, "bad-csv"), (6, "ragged-row")]
    assert dropped == "text_input,output\na,x\nb,z\n"
    assert [(line, after) for line, _, after in gone] == [(3, None), (4, None), (6, None)]


def test_a_row_that_cannot_be_decoded_is_deleted(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b"text_input,output\na,x\ncaf\xe9,y\nb,z\n")

    copy, changes, left = repaired(path)

    assert copy == "text_input,output\na,x\nb,z\n"
    assert [each[:2] for each in changes] == left == [(3, "encoding")]
    assert repaired(path, encoding="cp1252")[0] == "text_input,output\na,x\ncafé,y\nb,z\n"


LABELS = [
    *["positive"] * 40,
    *["negative"] * 40,
    *["Positive"] * 5,
    "postive",
    "NEGATIVE ",
    "neutral",
]


def test_labels_are_only_corrected_on_request(tmp_path):
    rows = "".join(f"t{n},{label}\n" for n, label in enumerate(LABELS))
    path = write(tmp_path, f"text_input,output\n{rows}")

    assert repaired(path)[1] == []
    copy, changes, _ = repaired(path, labels=True)

    assert {rule for _, rule, _ in changes} == {"label-typo"}
    outputs = [line.partition(",")[2] for line in copy.splitlines()[1:]]
    assert {each: outputs.count(each) for each in outputs} == {
        "positive": 46,
        "negative": 41,
        "neutral": 1,
    }


@pytest.mark.parametrize(
    "outputs",
    [
        [f"{n:b}".translate({48: "o", 49: "l"}) + " indeed" for n in range(100)]
        + ["lo indeed"] * 15,
        ["supported"] * 300 + ["suported"] * 21,
        ["unsupported"] * 90 + ["supported"] * 3,
        ["x" * 61] * 90 + ["x" * 62] * 3,
    ],
    ids=["free answers", "not rare", "another word", "long"],
)
def test_an_output_that_may_be_intended_stays(tmp_path, outputs):
    rows = "".join(f"t{n},{output}\n" for n, output in enumerate(outputs))

    assert repaired(write(tmp_path, f"text_input,output\n{rows}"), labels=True)[1] == []


def test_a_row_that_cannot_be_separated_from_the_next_one_stays(tmp_path):
    text = 'text_input,output\na,x\na,x\n"two\nlines"z,y\nb,z\n'
    path = write(tmp_path, text)

    copy, changes, left = repaired(path)

    assert copy == text
    assert changes == []
    assert (3, "bad-csv") in left


def test_a_file_that_is_not_there_is_refused(tmp_path):
    source = Source((tmp_path / "none.csv",))

    with pytest.raises(DatasetError, match="cannot be read"):
        list(repair(source, "csv"))


def test_all_rows_of_a_conflict_are_deleted_on_request(tmp_path):
    path = write(tmp_path, "text_input,output\na,x\nb,x\nA ,y\nc,x\nc,x\n")

    assert [each[:2] for each in repaired(path)[1]] == [(6, "duplicate")]
    assert repaired(path, drop_conflicts=True)[0] == "text_input,output\nb,x\nc,x\n"


def test_misspelt_labels_are_not_a_conflict(tmp_path):
    rows = "".join(f"t{n},{label}\n" for n, label in enumerate(LABELS))
    path = write(tmp_path, f"text_input,output\n{rows}t0,Positive\n")

    copy, changes, _ = repaired(path, labels=True, drop_conflicts=True)

    assert copy.count("t0,positive") == 1
    assert (len(LABELS) + 2, "duplicate", None) in changes


def test_only_the_named_columns_are_repaired(tmp_path):
    path = write(tmp_path, "text_input,q,a\nx\x07,b\x07,c\n")

    assert repaired(path, columns=Columns("q", "a"))[0] == "text_input,q,a\nx\x07,b,c\n"


def test_a_file_without_its_columns_is_refused(tmp_path):
    with pytest.raises(DatasetError) as caught:
        repaired(write(tmp_path, "q,a\nb,c\n"))

    assert {each.rule for each in caught.value.problems} == {"no-column"}


NASTY = (
    *(
        "a",
        "b",
        "é",
        "cafÃ©",
        "x\x07",
        "\x00",
        "",
        " ",
        "NA",
        '"',
        "two\nlines",
        "a,b",
        "â€™",
        "ï»¿q",
    ),
    *("\ufeff", "\x85", "Ã\x83Â©", "Ã©Ã©", "t\u2028u", "\r\n"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
@pytest.mark.parametrize("seed", range(12))
def test_the_checks_find_no_repaired_rule_in_the_copy(tmp_path, name, seed):
    import csv

    chance = random.Random(seed)
    pairs = [("".join(chance.choices(NASTY, k=chance.choice([1, 1, 2]))), chance.choice(NASTY))
             for _ in range(60)]  # fmt: skip
    path = tmp_path / name
    with path.open("w", encoding="utf-8", newline="") as file:
        if name == "rows.csv":
            csv.writer(file).writerows([("text_input", "output"), *pairs])
        else:
            keys = ("text_input", "output")
            file.writelines(f"{json.dumps(dict(zip(keys, pair, strict=True)))}\n" for pair in pairs)

    copy, changes, _ = repaired(path)
    (tmp_path / f"copy-{name}").write_text(copy, encoding="utf-8", newline="")

    assert changes
    assert not rules(tmp_path / f"copy-{name}") & set(REPAIRED)
    assert repaired(tmp_path / f"copy-{name}") == (copy, [], [])
