"""docs/architecture.md and CONTRIBUTING.md: the files and names they mention exist."""

from __future__ import annotations

import re

import pytest

from tests.docs.blocks import ROOT, broken_links

PAGES = [ROOT / "docs/architecture.md", ROOT / "CONTRIBUTING.md", ROOT / "docs/glossary.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_it_names_exists(page):
    named = set(re.findall(r"`(\w[\w/.]*(?:\.py|/))`", page.read_text())) - {"version_N.py"}
    folders = [ROOT, *(each for each in ROOT.glob("t*/**") if each.is_dir())]  # tuner, tests

    assert [name for name in named if not any((each / name).exists() for each in folders)] == []


def test_the_tables_and_classes_to_extend_exist():
    text = (ROOT / "docs/architecture.md").read_text()
    section = text.partition("## Where to add")[2].partition("## ")[0]
    code = "\n".join(path.read_text() for path in (ROOT / "tuner").rglob("*.py"))
    code += (ROOT / "tests/server/principals.py").read_text()
    names = set(re.findall(r"`(_?[A-Z][A-Z_]{3,}|[A-Z][a-z]+[A-Z]\w+)`", section))
    unknown = {name for name in names if not re.search(rf"\b{name}\b", code)}

    assert len(names) > 10
    assert unknown <= {"CHANGING"}


def test_every_package_is_on_the_page():
    text = (ROOT / "docs/architecture.md").read_text()
    packages = [each.parent.name for each in (ROOT / "tuner").glob("*/__init__.py")]

    assert [name for name in packages if f"`tuner/{name}/`" not in text] == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file(page):
    assert broken_links(page) == []
