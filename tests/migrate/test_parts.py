"""What every vendor's job has: a model and files."""

import pytest

from tests.migrate.samples import AXOLOTL
from tuner.migrate import translate


@pytest.fixture
def translated(tmp_path):
    def of(text):
        path = tmp_path / "theirs"
        path.write_text(text)
        return translate(path, tmp_path)

    return of


def lines_of(found):
    return {line.key: line.value for line in found.lines if line.is_active}


def test_a_job_that_names_no_file_says_where_the_examples_go(translated, tmp_path):
    found = translated('{"object": "fine_tuning.job", "training_file": ""}')

    assert lines_of(found)["training_data.path"] == "examples.jsonl"
    assert found.steps == (
        f"save the examples as {tmp_path}/examples.jsonl, or change the path in the spec",
    )


def test_the_model_in_the_box_needs_no_other_in_its_place(translated):
    text = AXOLOTL.replace("NousResearch/Llama-3.2-1B", "HuggingFaceTB/SmolLM2-135M-Instruct")
    found = translated(text)

    assert lines_of(found)["base_model"] == "models/smollm2-135m-instruct"
    assert "base_model" not in {each.key for each in found.remarks}
