"""What libyaml complains about, in words that say what to do."""

from __future__ import annotations

import yaml

from tuner.errors import Problem

_ADVICE = {
    "tab character": ("a tab cannot indent YAML", "indent with spaces"),
    "mapping values are not allowed": (
        "a key and a colon are not expected here",
        "check the indentation, and put quotes around a text that holds a colon and a space",
    ),
    "could not find expected ':'": (
        "a key without a colon",
        "write key: value, with a space after the colon",
    ),
    "unexpected end of stream": ("a quote opened here is never closed", "close it"),
    "unknown escape character": (
        "there is no such escape in double quotes",
        "use single quotes, or write the backslash twice",
    ),
    "cannot start any token": (
        "a value cannot begin with this character",
        "put the value in quotes",
    ),
    "another document": (
        "a second YAML document begins here",
        "keep one spec a file: `tuner run A.yaml B.yaml` takes several",
    ),
    "undefined alias": ("there is no anchor of this name above", "define it with &name first"),
    "expected node content": (
        "a value or a closing bracket is missing before this",
        "close the bracket, or put the value in quotes",
    ),
    "expected ',' or": (
        "a comma or a closing bracket is missing before this",
        "close the bracket; inside { } and [ ] a text with brackets or commas needs quotes",
    ),
    "expected '-' indicator": (
        "a list ends here without its indentation ending",
        "begin every item of the list with - in the same column",
    ),
    "expected <block end>": (
        "the indentation does not fit the lines above",
        "begin every key of a mapping in the same column",
    ),
}


_SEEN_TOO_LATE = ("unexpected end of stream", "could not find expected ':'")


def not_yaml(path: str, text: str, error: yaml.YAMLError) -> Problem:
    """One clear problem from whatever PyYAML raised while it read ``text``."""
    line, column = _where(text, error)
    said = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
    for words, (what, fix) in _ADVICE.items():
        if words in said:
            return Problem(path, line, column, what, fix, "syntax")
    fix = "check the indentation, quotes and brackets here and on the line above"
    return Problem(path, line, column, f"is not YAML: {said}", fix, "syntax")


def not_text(path: str, error: UnicodeDecodeError) -> Problem:
    """A file that is not UTF-8."""
    content: bytes = error.object
    before = content[: error.start]
    line = before.count(b"\n") + 1
    column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
    what = f"is not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start}"
    return Problem(path, line, column, what, "save the file as UTF-8", "encoding")


def _where(text: str, error: yaml.YAMLError) -> tuple[int, int]:
    """Line and column, 1-based; of something that never ends, those of its beginning."""
    if isinstance(error, yaml.MarkedYAMLError):
        begun = any(words in (error.problem or "") for words in _SEEN_TOO_LATE)
        mark = (error.context_mark if begun else None) or error.problem_mark
        return (mark.line + 1, mark.column + 1) if mark else (1, 1)
    position = getattr(error, "position", 0)
    before = text.encode()[:position].decode(errors="ignore")
    return before.count("\n") + 1, len(before) - before.rfind("\n")
