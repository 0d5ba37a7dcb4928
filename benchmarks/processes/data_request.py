"""A CSV file to the bytes of a request to tune: python data_request.py CONTESTANT FILE."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import meter

if TYPE_CHECKING:
    from collections.abc import Callable

ID, BASE, NAME = "benchmark", "models/gemini-1.5-flash-001-tuning", "Benchmark"


def ours(path: Path, *ignored: str) -> Callable[[], bytes]:
    """Read, checked by every rule but those ignored, and encoded: what `tuner submit` does."""
    from tuner.data.checks import Checks
    from tuner.data.dataset import Source, read
    from tuner.targets import TARGETS
    from tuner.targets.protos import create_request, serialized
    from tuner.types import NewTunedModel

    limits = replace(TARGETS["gemini"].limits, request_bytes=None)  # 64 MiB exceed it

    def encode() -> bytes:
        checks = Checks(limits, ignore=set(ignored))
        rows, problems = [], []
        for batch in read(Source((path,))):
            rows.extend(batch.examples())
            problems.extend(checks.check_training(batch))
        problems.extend(checks.finish())
        del checks  # as when a job's material was read
        errors = [each for each in problems if each.severity == "error"]
        if errors:
            sys.exit(f"{len(errors)} errors, the first: {errors[0]}")
        new = NewTunedModel(ID, rows, base_model=BASE, display_name=NAME)
        return serialized(create_request(new))

    return encode


def quick(path: Path) -> Callable[[], bytes]:
    """The same without the rules that compare every row with all others by their shingles."""
    return ours(path, "near-duplicate", "near-leak")


def legacy(path: Path) -> Callable[[], bytes]:
    """google-generativeai: what create_tuned_model does before it sends, in its order."""
    from google.generativeai import protos
    from google.generativeai.types import model_types

    def encode() -> bytes:
        data = model_types.encode_tuning_data(path)
        task = protos.TuningTask(training_data=data)
        model = protos.TunedModel(base_model=BASE, display_name=NAME, tuning_task=task)
        request = protos.CreateTunedModelRequest({"tuned_model_id": ID, "tuned_model": model})
        return type(request).serialize(request)

    return encode


def proto_plus(path: Path) -> Callable[[], bytes]:
    """The same messages filled by hand, without the old client around them."""
    from google.ai import generativelanguage_v1beta as gl

    def encode() -> bytes:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [gl.TuningExample(row) for row in csv.DictReader(file)]
        data = gl.Dataset(examples=gl.TuningExamples(examples=rows))
        task = gl.TuningTask(training_data=data)
        model = gl.TunedModel(base_model=BASE, display_name=NAME, tuning_task=task)
        request = gl.CreateTunedModelRequest(tuned_model_id=ID, tuned_model=model)
        return type(request).serialize(request)

    return encode


def genai(path: Path) -> Callable[[], bytes]:
    """google-genai: its pydantic types, and the quickest way that these have to JSON."""
    from google.genai import types

    def encode() -> bytes:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [types.TuningExample(**row) for row in csv.DictReader(file)]
        data = types.TuningDataset(examples=rows)
        return data.model_dump_json(by_alias=True, exclude_none=True).encode()

    return encode


def decoded(raw: bytes) -> list[tuple[str, str]]:
    """The examples in a request."""
    if raw.startswith(b"{"):
        return [(row["textInput"], row["output"]) for row in json.loads(raw)["examples"]]
    from google.ai import generativelanguage_v1beta as gl

    request = gl.CreateTunedModelRequest.pb().FromString(raw)
    rows = request.tuned_model.tuning_task.training_data.examples.examples
    return [(row.text_input, row.output) for row in rows]


CONTESTANTS = {each.__name__: each for each in (ours, quick, legacy, proto_plus, genai)}

if __name__ == "__main__":
    raw, costs = meter.measured(CONTESTANTS[sys.argv[1]](Path(sys.argv[2])))
    meter.tell(costs, meter.digest(decoded(raw)))
