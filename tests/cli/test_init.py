"""`tuner init`: the specs it writes are valid."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.migrate.samples import OPENAI, TOGETHER_JOB
from tuner.__main__ import run
from tuner.cli.init import KINDS
from tuner.jobspec.prepared_job import prepare_job
from tuner.migrate import VENDORS

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(count, output="answer {n}", text="question {n}"):
    return [(text.format(n=n), output.format(n=n, even=n % 2)) for n in range(count)]


def csv_file(name, header, pairs):
    Path(name).write_text("\n".join([header, *(",".join(pair) for pair in pairs)]))


@pytest.mark.parametrize("data", ["capitals.csv", "support_chats.jsonl"])
def test_the_written_spec_is_valid_and_holds_out_rows(data):
    assert run(["init", str(ROOT / "datasets" / data)]) == 0

    assert len(prepare_job(Path("job.yaml")).holdout) > 5


def test_a_few_different_outputs_are_labels_with_a_gate_and_free_text_has_none():
    csv_file("mood.csv", "text,label", rows(40, output="mood {even}"))
    assert run(["init", "mood.csv", "--to", "a.yaml"]) == 0

    spec = prepare_job(Path("a.yaml")).spec
    assert spec.training_data.text_input == "text"
    assert spec.training_data.output == "label"
    assert spec.evaluation.require.better_than_base
    assert '# instruction: "Answer with one of: mood 0, mood 1."' in Path("a.yaml").read_text()
    csv_file("faq.csv", "question,answer", rows(40))
    assert run(["init", "faq.csv"]) == 0
    assert not prepare_job(Path("job.yaml")).spec.evaluation.require.better_than_base


def test_a_small_file_has_no_evaluation():
    csv_file("few.csv", "text_input,output", rows(15))
    run(["init", "few.csv"])

    assert prepare_job(Path("job.yaml")).spec.evaluation is None


@pytest.mark.parametrize(
    ("name", "text", "columns"),
    [
        ("a.jsonl", '{"prompt_text": "x", "verdict": "y"}\n', ("prompt_text", "verdict")),
        ("a.csv", "ANSWER;Question\ny;x\n", ("Question", "ANSWER")),
        ("a.tsv", "id\tReview\tscore\tsentiment\n1\tx\t3\ty\n", ("Review", "sentiment")),
        ("a.csv", '"text, raw",label\nx,y\n', ("text, raw", "label")),
        ("a.csv", "output,text_input\ny,x\n", ("text_input", "output")),
    ],
)
def test_columns_are_detected(name, text, columns):
    Path(name).write_text(text)
    run(["init", name])

    data = prepare_job(Path("job.yaml")).spec.training_data
    assert (data.text_input, data.output) == columns


def test_conversations_of_several_turns_are_detected():
    turns = [{"role": role, "content": "hm"} for role in ("user", "assistant") * 2]
    Path("chats.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    run(["init", "chats.jsonl"])

    work = prepare_job(Path("job.yaml"))
    assert work.spec.training_data.multi_turn == "expand"
    assert len(work.examples) == 2


def test_several_files_are_listed():
    for name in ("a.csv", "b.csv"):
        csv_file(name, "text_input,output", rows(30, text=f"{name} {{n}}"))
    run(["init", "a.csv", "b.csv"])

    work = prepare_job(Path("job.yaml"))
    assert len(work.examples) + len(work.holdout) == 60


def test_columns_that_cannot_be_guessed_must_be_named(capsys):
    csv_file("a.csv", "uno,due,tre", [("a", "b", "c")] * 3)

    assert run(["init", "a.csv"]) == 2
    assert "the columns of input and answer cannot be guessed from 'uno', 'due', 'tre'" in (
        capsys.readouterr().err
    )
    assert not Path("job.yaml").exists()
    assert run(["init", "a.csv", "--text-input", "tre", "--output-column", "uno"]) == 0
    assert prepare_job(Path("job.yaml")).spec.training_data.text_input == "tre"


@pytest.mark.parametrize("name", ["no: such.csv", "#1.csv", "$HOME.csv", "ü 'x'.csv"])
def test_a_file_name_with_special_characters_is_unchanged(name):
    csv_file(name, "text_input,output", rows(40))
    run(["init", name])

    assert prepare_job(Path("job.yaml")).spec.training_data.path == Path(name)


def test_a_spec_in_another_folder_finds_the_data():
    csv_file("a.csv", "text_input,output", rows(40))
    Path("specs").mkdir()
    run(["init", "a.csv", "--to", "specs/a.yaml"])

    assert prepare_job(Path("specs/a.yaml")).spec.training_data.path == Path("a.csv")


def test_stdout_gets_the_spec_only(folder, capsys):
    csv_file("a.csv", "text_input,output", rows(40))
    run(["init", "a.csv", "--to", "-"])

    assert capsys.readouterr().out.startswith("# tuner run\n")
    assert list(folder.iterdir()) == [folder / "a.csv"]


def test_an_existing_spec_is_overwritten_only_with_force(capsys):
    csv_file("a.csv", "text_input,output", rows(40))
    Path("job.yaml").write_text("mine")

    assert run(["init", "a.csv"]) == 2
    assert "job.yaml: is already there" in capsys.readouterr().err
    assert Path("job.yaml").read_text() == "mine"
    assert run(["init", "a.csv", "--force"]) == 0
    assert Path("job.yaml").read_text() != "mine"


def test_the_source_is_never_overwritten():
    Path("job.json").write_text(OPENAI)

    assert run(["init", "--from", "job.json", "--to", "./job.json", "--force"]) == 2
    assert Path("job.json").read_text() == OPENAI


@pytest.mark.parametrize("arguments", [[], ["a.csv", "--from", "b.json"]])
def test_examples_or_a_vendors_job_must_be_named(arguments, capsys):
    assert run(["init", *arguments]) == 2
    assert "give files of examples, or --from" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["axolotl.yml"], "--from axolotl.yml"),
        (["a.csv", "--kind", "openai"], "--kind requires --from"),
    ],
)
def test_a_vendors_job_is_not_taken_for_examples(arguments, shown, capsys):
    assert run(["init", *arguments]) == 2
    assert shown in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (None, "a.csv: cannot be read: no such file"),
        (b"", "a.csv"),
        (b"text_input,output\n", "the file has no examples"),
        (b"\xff\xfea\x00", "UTF-16"),
    ],
)
def test_unreadable_data_gives_no_spec(content, shown, capsys):
    if content is not None:
        Path("a.csv").write_bytes(content)

    assert run(["init", "a.csv"]) == 2
    assert shown in capsys.readouterr().err
    assert not Path("job.yaml").exists()


def test_a_translation_prints_remarks_and_next_steps(capsys):
    Path("theirs.json").write_text(OPENAI)

    assert run(["init", "--from", "theirs.json"]) == 0

    out, err = capsys.readouterr()
    assert out == ""
    assert "theirs.json: 20 keys without an equivalent, or with another meaning here" in err
    assert "  seed: 42\n" in err
    assert "next: curl -f" in err
    assert err.endswith("tuner data check job.yaml\n      tuner run job.yaml\n")
    assert "epoch_count: 4  # method.supervised.hyperparameters.n_epochs" in (
        Path("job.yaml").read_text()
    )


def test_quiet_prints_nothing(capsys):
    Path("theirs.json").write_text(TOGETHER_JOB)

    assert run(["-q", "init", "--from", "theirs.json"]) == 0
    assert capsys.readouterr() == ("", "")


def test_an_ambiguous_kind_can_be_named(capsys):
    Path("theirs.json").write_text(json.dumps({"model": "m", "training_file": "f.jsonl"}))

    assert run(["init", "--from", "theirs.json"]) == 2
    assert "--kind openai or together" in capsys.readouterr().err
    assert run(["init", "--from", "theirs.json", "--kind", "together"]) == 0


def test_the_option_has_all_vendors():
    assert tuple(VENDORS) == KINDS


def test_a_file_from_excel_gets_its_encoding():
    text = "Überschrift;Antwört\n" + "".join(f"Straße {n}?;größer als {n} €\n" for n in range(30))
    Path("rows.csv").write_bytes(text.encode("cp1252"))

    assert run(["init", "rows.csv"]) == 0

    work = prepare_job(Path("job.yaml"))
    assert "encoding: cp1252  # guessed" in Path("job.yaml").read_text()
    assert {each.output[:11] for each in work.examples} == {"größer als "}
