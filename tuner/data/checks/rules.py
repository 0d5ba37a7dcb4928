"""The rules that examples are checked by: code, severity and description of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tuner.errors import Severity


class Finding(NamedTuple):
    """A problem in a text of a batch: the row's index, the character's index, and what a Problem has."""

    row: int
    offset: int
    what: str
    fix: str
    rule: str


class Rule(NamedTuple):
    """A rule of the table.

    Attributes:
        about: One sentence for the reference, without a full stop.
        severity: An ``error`` stops a job.
        can_be_ignored: Whether ``training_data.ignore`` may name it.
    """

    about: str
    severity: Severity = "warning"
    can_be_ignored: bool = True


def _unreadable(about: str) -> Rule:
    return Rule(about, "error", can_be_ignored=False)


RULES = {
    "unreadable": _unreadable("The file cannot be opened"),
    "encoding": _unreadable("A byte is not in the file's encoding"),
    "row-too-large": _unreadable("A row, or a line, is larger than any model takes"),
    "no-header": _unreadable("The first row does not name the columns"),
    "no-column": _unreadable("A named column is not there"),
    "repeated-column": _unreadable("Two columns have the same name"),
    "ragged-row": _unreadable("A row has more or fewer cells than the first"),
    "bad-csv": _unreadable("The quotes of a row cannot be understood"),
    "bad-json": _unreadable("A text is not JSON, or is nested too deep"),
    "not-an-object": _unreadable("A row is not a JSON object"),
    "no-key": _unreadable("A named key is not there"),
    "repeated-key": _unreadable("An object has a key twice"),
    "not-text": _unreadable("A number, null or list where a text is needed"),
    "bad-conversation": _unreadable("Messages are not a user's turn and the model's answer to it"),
    "multi-turn": _unreadable(
        "A conversation has several turns, and multi_turn does not say expand"
    ),
    "bad-parquet": _unreadable("A Parquet or Arrow file is damaged"),
    "no-examples": _unreadable("There are no examples"),
    "not-unicode": _unreadable("A text contains half of a surrogate pair"),
    "empty-text-input": Rule("The input is empty or blank", "error"),
    "empty-output": Rule("The output is empty or blank", "error"),
    "long-text-input": Rule("The input has more characters than the target takes", "error"),
    "long-output": Rule("The output has more characters than the target takes", "error"),
    "long-example": Rule("An example has more tokens than the model takes", "error"),
    "request-too-large": Rule("All examples together are larger than a request may be", "error"),
    "control-character": Rule("A text contains a control character other than tab and line ends"),
    "mojibake": Rule("A text was decoded with the wrong encoding: CafÃ©"),
    "duplicate": Rule("A row is the same as an earlier one"),
    "similar-case": Rule("A row is the same as an earlier one except for case and spaces"),
    "near-duplicate": Rule("A row is nearly the same as an earlier one"),
    "conflict": Rule("An input occurs twice, with different outputs"),
    "leak": Rule("An input is in the training set and held out"),
    "near-leak": Rule("A held-out input is nearly the same as one in the training set"),
    "label-typo": Rule(
        "A rare output looks like a misspelt frequent one, or two differ only in case and spaces"
    ),
    "imbalance": Rule("One output is far more frequent than all others"),
    "output-in-input": Rule(
        "The input already contains the output: four words or more in some rows, or at the end of most"
    ),
    "secret": Rule("A text looks like it contains a key or password"),
    "personal-data": Rule("A text looks like it contains an e-mail address or card number"),
    "few-examples": Rule("There are too few examples to learn from"),
}

IGNORABLE = tuple(code for code, rule in RULES.items() if rule.can_be_ignored)
