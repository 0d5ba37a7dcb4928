"""Find keys, passwords and personal data in texts by their patterns."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from tuner.data.checks.rules import Finding

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

_SHOWN_CHARS = 4
"""Characters of a secret that a message shows: enough to find it, too few to use it."""
_MIN_DISTINCT_CHARS = 8
"""A real key has at least so many different characters; ``sk-xxxxxxxx`` is a placeholder."""


class Secret(NamedTuple):
    """A kind of secret: its name, a text that all of them contain, and their pattern."""

    name: str
    needle: str
    pattern: str


SECRETS = (
    Secret("an OpenAI or Anthropic key", "sk-", r"(?<![\w-])sk-[A-Za-z0-9_-]{20,}"),
    Secret("a Google API key", "AIza", r"(?<![\w-])AIza[\w-]{35}(?![\w-])"),
    Secret("an AWS access key", "AKIA", r"(?<!\w)AKIA[0-9A-Z]{16}(?!\w)"),
    Secret("a temporary AWS access key", "ASIA", r"(?<!\w)ASIA[0-9A-Z]{16}(?!\w)"),
    Secret("a GitHub token", "_", r"(?<!\w)(?:gh[opusr]_\w{36,}|github_pat_\w{22,})"),
    Secret("a Hugging Face token", "_", r"(?<!\w)hf_[A-Za-z0-9]{30,}"),
    Secret("a Stripe key", "_", r"(?<!\w)[rs]k_live_[A-Za-z0-9]{20,}"),
    Secret("a Slack token", "xox", r"(?<!\w)xox[abeoprs]-[A-Za-z0-9-]{10,}"),
    Secret("a GitLab token", "glpat-", r"(?<!\w)glpat-[\w-]{20,}"),
    Secret("a private key", "-----BEGIN", r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY"),
    Secret("a password in an address", "://", r"://[^\s/:@]{1,200}:[^\s/:@${<*]{1,200}@"),
)
_EMAIL = re.compile(
    r"(?<![\w.+%:/-])[\w.+%-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])"
)
_CARD = re.compile(
    r"\d(?<![\d.,-].)(?:\d{12,18}|\d{3}([ -])\d{4}\1\d{4}\1\d{4}|\d{3}([ -])\d{6}\2\d{5})"
    r"(?![\d-]|\.\d)"
)
"""The lookbehind comes after the first digit: before it, the search is ten times slower."""
_ISSUER = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}"
    r"|3(?:0[0-5]|[68]\d)\d{11}|(?:6011|65\d\d|64[4-9]\d|35[2-8]\d)\d{12}|62\d{14}"
)
"""Visa, Mastercard, American Express, Diners, Discover, JCB and UnionPay."""


def check_privacy(texts: Sequence[str], ignore: Container[str] = frozenset()) -> Iterator[Finding]:
    """Yield what looks like a secret or personal data in the texts of a column."""
    joined = "\0".join(texts)  # one search in all texts, most of which contain nothing
    if "secret" not in ignore:
        for secret in SECRETS:
            if secret.needle in joined:
                yield from _find_secrets(texts, secret)
    if "personal-data" not in ignore:
        if "@" in joined:
            yield from _find_emails(texts)
        if _CARD.search(joined):
            yield from _find_cards(texts)


def _find_emails(texts: Sequence[str]) -> Iterator[Finding]:
    for row, text in enumerate(texts):
        for match in _EMAIL.finditer(text) if "@" in text else ():
            what = f"looks like it contains an e-mail address: {match.group()}"
            fix = "replace it by a placeholder like [EMAIL], if it belongs to a person"
            yield Finding(row, match.start(), what, fix, "personal-data")


def _find_cards(texts: Sequence[str]) -> Iterator[Finding]:
    for row, text in enumerate(texts):
        for match in _CARD.finditer(text):
            digits = match.group().replace(" ", "").replace("-", "")
            if is_card(digits):
                what = f"looks like it contains a card number, ending in {digits[-4:]}"
                fix = "replace it by another number, if it belongs to a person"
                yield Finding(row, match.start(), what, fix, "personal-data")


def is_card(digits: str) -> bool:
    """Return whether an issuer has such numbers and the check digit is right (ISO/IEC 7812, Luhn)."""
    if not _ISSUER.fullmatch(digits):
        return False
    doubled = [sum(divmod(2 * int(each), 10)) for each in digits[-2::-2]]
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def _find_secrets(texts: Sequence[str], secret: Secret) -> Iterator[Finding]:
    pattern = re.compile(secret.pattern)
    for row, text in enumerate(texts):
        for match in pattern.finditer(text) if secret.needle in text else ():
            shown = match.group()
            if len(set(shown[_SHOWN_CHARS:])) >= _MIN_DISTINCT_CHARS or shown[0] == ":":
                start = "" if shown[0] in ":-" else f": {shown[:_SHOWN_CHARS]}..."
                what = f"looks like it contains {secret.name}{start}"
                fix = "remove it, and revoke it if it is real: a model repeats what it learns"
                yield Finding(row, match.start(), what, fix, "secret")
