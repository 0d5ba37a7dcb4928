"""A repaired copy: what is repaired, what is deleted, and what stays to the letter."""

from __future__ import annotations

import csv
import io
import json
import random

import pytest

from tuner.data.checks import Checks
from tuner.data.dataset import USUAL, Columns, Source, detect, read, read_rows
from tuner.data.repair import REPAIRED, RepairOptions, repair
from tuner.errors import DatasetError
from tuner.types import Limits

HEADER = "text_input,output\n"


@pytest.fixture
def repaired(tmp_path):
    """Repair a text: the copy, the changes as (line, rule, after), and line and rule of the rest."""

    def run(text, name="rows.csv", *, encoding="utf-8", columns=USUAL, **options):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        source = Source((path,), encoding=encoding, columns=columns)
        rows = list(repair(source, detect(path), RepairOptions(**options)))
        changes = [(each.line, each.rule, each.after) for row in rows for each in row.changes]
        left = [(each.line, each.rule) for row in rows for each in row.left]
        return "".join(row.raw for row in rows), changes, left

    return run


def test_a_good_file_stays_to_the_letter(repaired):
    text = 'id,text_input,output\r\n 1,"a ""b""\nc",x\r\n\r\n2,NA, y \n"3",é,"z"'

    assert repaired(text) == (text, [], [])


@pytest.mark.parametrize(
    ("text", "copy"),
    [
        (
            'note;text_input;output\r\n"k";a\x07;"x"\r\n"one; two\nlines";b\x07;y\r\n"q";c;"z"\r\n',
            'note;text_input;output\r\nk;a;x\r\n"one; two\nlines";b;y\r\n"q";c;"z"\r\n',
        ),
        *((f'{HEADER}"a\rb\x07","x\ny"{end}', f'{HEADER}"a\rb","x\ny"{end}') for end in ("", "\n")),
    ],
)
def test_only_a_repaired_row_is_rewritten_and_keeps_its_other_cells_and_line_ends(
    repaired, text, copy
):
    assert repaired(text)[0] == copy


def test_every_change_of_csv_is_reported_with_its_line(repaired):
    rows = '"two\nlines",x\na\x07,x\n,x\nb, \nc,x,,\nc,x\nd,cafÃ©\n'

    copy, changes, left = repaired(HEADER + rows)

    assert changes == [
        (4, "control-character", "a"), (5, "empty-text-input", None), (6, "empty-output", None),
        (7, "ragged-row", "2 cells"), (8, "duplicate", None), (9, "mojibake", "café"),
    ]  # fmt: skip
    assert copy == HEADER + '"two\nlines",x\na,x\nc,x\nd,café\n'
    assert left == []


def test_numbers_in_json_become_texts_as_they_are_written(repaired):
    text = (
        '{"id": 1.0, "text_input": 1e5, "output": true,"x":[1,  2]}\n'
        '{"text_input": 007, "output": "a"}\n{"text_input": null, "output": "a"}\n'
        '{"text_input": NaN, "output": "a"}\n{"text_input": [1], "output": "a"}\n'
    )

    copy, changes, left = repaired(text, "rows.jsonl")

    lines = copy.splitlines()
    assert lines[0] == '{"id": 1.0, "text_input": "1e5", "output": "true","x":[1,  2]}'
    assert lines[1:] == text.splitlines()[1:]
    assert changes == [(1, "not-text", '"1e5", "true"')]
    assert [line for line, _ in left] == [2, 3, 4, 5]


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
def test_texts_are_repaired_in_place_in_any_record_format(repaired, record):
    text = json.dumps(record)

    copy, changes, _ = repaired(f"{text}\n", "rows.jsonl")

    good = text.replace("\\u0007", "").replace("caf\\u00c3\\u00a9", "café")
    assert json.loads(copy) == json.loads(good)
    assert {line for line, _, _ in changes} == {1}


def test_what_cannot_be_repaired_is_listed_and_stays_unless_bad_rows_are_dropped(repaired):
    text = HEADER + 'a,x\nshort\n"open,y\nb,z\nc,x,more\n'

    dropped, changes, _ = repaired(text, drop_bad=True)

    left = [(3, "ragged-row"), (4, "bad-csv"), (6, "ragged-row")]
    assert repaired(text) == (text, [], left)
    assert dropped == HEADER + "a,x\nb,z\n"
    assert [(line, after) for line, _, after in changes] == [(3, None), (4, None), (6, None)]


def test_a_row_that_cannot_be_decoded_is_deleted(repaired):
    text = f"{HEADER}a,x\ncafé,y\nb,z\n".encode("cp1252")

    copy, changes, left = repaired(text)

    assert copy == HEADER + "a,x\nb,z\n"
    assert [each[:2] for each in changes] == left == [(3, "encoding")]
    assert repaired(text, encoding="cp1252")[0] == HEADER + "a,x\ncafé,y\nb,z\n"


def test_a_row_that_cannot_be_separated_from_the_next_one_stays(repaired):
    text = HEADER + 'a,x\na,x\n"two\nlines"z,y\nb,z\n'

    copy, changes, left = repaired(text)

    assert (copy, changes) == (text, [])
    assert (3, "bad-csv") in left


def labelled(outputs):
    return HEADER + "".join(f"t{n},{output}\n" for n, output in enumerate(outputs))


LABELS = ["positive"] * 40 + ["negative"] * 40 + ["Positive"] * 5
LABELS += ["postive", "NEGATIVE ", "neutral"]


def test_labels_are_only_corrected_on_request(repaired):
    assert repaired(labelled(LABELS))[1] == []
    copy, changes, _ = repaired(labelled(LABELS), labels=True)

    assert {rule for _, rule, _ in changes} == {"label-typo"}
    outputs = [line.partition(",")[2] for line in copy.splitlines()[1:]]
    counts = {each: outputs.count(each) for each in outputs}
    assert counts == {"positive": 46, "negative": 41, "neutral": 1}


@pytest.mark.parametrize(
    "outputs",
    [
        [f"{n:b} indeed".translate({48: "o", 49: "l"}) for n in range(100)] + ["lo indeed"] * 15,
        ["supported"] * 300 + ["suported"] * 21,
        ["unsupported"] * 90 + ["supported"] * 3,
        ["x" * 61] * 90 + ["x" * 62] * 3,
    ],
    ids=["free answers", "not rare", "another word", "long"],
)
def test_an_output_that_may_be_intended_stays(repaired, outputs):
    assert repaired(labelled(outputs), labels=True)[1] == []


def test_all_rows_of_a_conflict_are_deleted_on_request(repaired):
    text = HEADER + "a,x\nb,x\nA ,y\nc,x\nc,x\n"

    assert [each[:2] for each in repaired(text)[1]] == [(6, "duplicate")]
    assert repaired(text, drop_conflicts=True)[0] == HEADER + "b,x\nc,x\n"


def test_misspelt_labels_are_not_a_conflict(repaired):
    text = labelled(LABELS) + "t0,Positive\n"

    copy, changes, _ = repaired(text, labels=True, drop_conflicts=True)

    assert copy.count("t0,positive") == 1
    assert (len(LABELS) + 2, "duplicate", None) in changes


def test_only_the_named_columns_are_repaired(repaired):
    text = "text_input,q,a\nx\x07,b\x07,c\n"

    assert repaired(text, columns=Columns("q", "a"))[0] == "text_input,q,a\nx\x07,b,c\n"


def test_a_file_that_cannot_be_read_is_refused(repaired, tmp_path):
    with pytest.raises(DatasetError, match="cannot be read"):
        list(repair(Source((tmp_path / "none.csv",)), "csv"))
    with pytest.raises(DatasetError) as caught:
        repaired("q,a\nb,c\n")

    assert {each.rule for each in caught.value.problems} == {"no-column"}


BAD = ["a", "b", "é", "cafÃ©", "x\x07", "\x00", "", " ", "NA", '"', "two\nlines", "a,b", "â€™"]
BAD += ["ï»¿q", "\ufeff", "\x85", "Ã\x83Â©", "Ã©Ã©", "t\u2028u", "\r\n"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
@pytest.mark.parametrize("seed", range(12))
def test_the_checks_find_no_repaired_rule_in_the_copy(repaired, tmp_path, name, seed):
    chance, keys, file = random.Random(seed), ("text_input", "output"), io.StringIO(newline="")
    pairs = [("".join(chance.choices(BAD, k=chance.choice([1, 1, 2]))), chance.choice(BAD))
             for _ in range(60)]  # fmt: skip
    if name == "rows.csv":
        csv.writer(file).writerows([keys, *pairs])
    else:
        file.writelines(f"{json.dumps(dict(zip(keys, pair, strict=True)))}\n" for pair in pairs)

    copy, changes, _ = repaired(file.getvalue(), name)
    again = repaired(copy, name)
    checks, source = Checks(Limits(None, None, None)), Source((tmp_path / name,))
    found = [each for batch in read(source) for each in checks.check_training(batch)]

    assert changes
    assert again == (copy, [], [])
    assert list(read_rows(source))
    assert not {each.rule for each in found} & {*REPAIRED}
