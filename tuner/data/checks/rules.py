"""Every rule that examples are checked by: its code, how grave it is, and what it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tuner.errors import Severity


class Rule(NamedTuple):
    """One row of the table.

    Attributes:
        about: One sentence for the reference, no full stop.
        severity: An ``error`` stops a job.
        can_be_ignored: Whether ``training_data.ignore`` may name it; what cannot be read cannot.
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
    "not-an-object": _unreadable("A row is no JSON object"),
    "no-key": _unreadable("A named key is not there"),
    "repeated-key": _unreadable("An object has a key twice"),
    "not-text": _unreadable("A number, null or list stands where a text is needed"),
    "bad-conversation": _unreadable("Messages are not a user's turn and the model's answer to it"),
    "multi-turn": _unreadable(
        "A conversation has several turns, and multi_turn does not say expand"
    ),
    "bad-parquet": _unreadable("A Parquet or Arrow file is damaged"),
    "no-examples": _unreadable("There are no examples"),
    "not-unicode": _unreadable("A text holds half of a surrogate pair"),
    "empty-text-input": Rule("The input is empty or blank", "error"),
    "empty-output": Rule("The output is empty or blank", "error"),
    "long-text-input": Rule("The input has more characters than the target takes", "error"),
    "long-output": Rule("The output has more characters than the target takes", "error"),
    "long-example": Rule("An example has more tokens than the model takes", "error"),
    "request-too-large": Rule("All examples together are larger than a request may be", "error"),
    "control-character": Rule("A text holds a control character other than tab and line ends"),
    "mojibake": Rule("A text was decoded with the wrong encoding: CafÃ©"),
    "duplicate": Rule("A row is the same as an earlier one"),
    "similar-case": Rule("A row is the same as an earlier one but for case and space"),
    "near-duplicate": Rule("A row is nearly the same as an earlier one"),
    "conflict": Rule("An input stands there twice, with different outputs"),
    "leak": Rule("An input is both tuned on and held out"),
    "near-leak": Rule("A held-out input is nearly the same as one tuned on"),
    "label-typo": Rule(
        "A rare output looks like a misspelt frequent one, or two differ by case and space alone"
    ),
    "imbalance": Rule("One output outnumbers the others by far"),
    "output-in-input": Rule(
        "The input already holds the output: four words or more in some rows, or at the end of most"
    ),
    "secret": Rule("A text looks like it holds a key or password"),
    "personal-data": Rule("A text looks like it holds an e-mail address or card number"),
    "few-examples": Rule("There are too few examples to learn from"),
}

IGNORABLE = tuple(code for code, rule in RULES.items() if rule.can_be_ignored)
