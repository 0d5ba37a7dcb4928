"""Keys, passwords and personal data in texts, told by their pattern."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import re
    from collections.abc import Container, Iterator, Sequence

    from tuner.data.checks.screen import Screen

_SEEN = 4
"""Characters of a secret that a message shows, so that it can be found and not used."""
_LEAST_KINDS = 8
"""A real key has at least so many different characters; ``sk-xxxxxxxx`` is an example."""


class Secret(NamedTuple):
    """One row of the table.

    Attributes:
        name: What it is.
        needle: A text that is in all of them.
        pattern: What they look like.
    """

    name: str
    needle: str
    pattern: str


SECRETS = (
    Secret("an OpenAI or Anthropic key", "sk-", r"(?<![\w-])sk-[A-Za-z0-9_-]{20,}"),
    Secret("a Google API key", "AIza", r"(?<![\w-])AIza[\w-]{35}(?![\w-])"),
    Secret("an AWS access key", "AKIA", r"(?<!\w)AKIA[0-9A-Z]{16}(?!\w)"),
    Secret("a temporary AWS access key", "ASIA", r"(?<!\w)ASIA[0-9A-Z]{16}(?!\w)"),
    *(Secret("a GitHub token", f"gh{kind}_", rf"(?<!\w)gh{kind}_\w{{36,}}") for kind in "opusr"),
    Secret("a GitHub token", "github_pat_", r"(?<!\w)github_pat_\w{22,}"),
    Secret("a Hugging Face token", "hf_", r"(?<!\w)hf_[A-Za-z0-9]{30,}"),
    Secret("a Stripe key", "k_live_", r"(?<!\w)[rs]k_live_[A-Za-z0-9]{20,}"),
    *(
        Secret("a Slack token", f"xox{kind}-", rf"(?<!\w)xox{kind}-[A-Za-z0-9-]{{10,}}")
        for kind in "abeoprs"
    ),
    Secret("a GitLab token", "glpat-", r"(?<!\w)glpat-[\w-]{20,}"),
    Secret("a private key", "-----BEGIN", r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY"),
    Secret("a password in an address", "://", r"://[^\s/:@]{1,200}:[^\s/:@${<*]{1,200}@"),
)
_EMAIL = r"(?<![\w.+%:/-])[\w.+%-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])"
_CARD = (
    r"\d(?<![\d.,-].)(?:\d{12,18}|\d{3}([ -])\d{4}\1\d{4}\1\d{4}|\d{3}([ -])\d{6}\2\d{5})"
    r"(?![\d-]|\.\d)"
)
"""It begins with a digit and not with what may not stand before it: that is ten times slower."""
_ISSUER = (
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}"
    r"|3(?:0[0-5]|[68]\d)\d{11}|(?:6011|65\d\d|64[4-9]\d|35[2-8]\d)\d{12}|62\d{14}"
)
"""Visa, Mastercard, American Express, Diners, Discover, JCB and UnionPay: their first digits and lengths."""


class Found(NamedTuple):
    """Something private: where it begins in its text, and what to say."""

    offset: int
    what: str
    fix: str
    rule: str


def find_private(
    screen: Screen, ignore: Container[str] = frozenset()
) -> Iterator[tuple[int, Found]]:
    """Yield what looks private in the texts of a column, and the row it is in."""
    if "secret" not in ignore:
        for secret in SECRETS:
            if rows := screen.having(secret.needle):
                yield from _secrets(screen, rows, secret)
    if "personal-data" not in ignore:
        for row in screen.having("@"):
            for match in _compiled(_EMAIL).finditer(screen.texts[row]):
                yield row, _email(match)
        for row in screen.with_cards():
            for match in _compiled(_CARD).finditer(screen.texts[row]):
                digits = match.group().replace(" ", "").replace("-", "")
                if is_card(digits):
                    yield row, _card(match.start(), digits)


def is_card(digits: str) -> bool:
    """Whether an issuer's numbers look so, and the last digit is the right one (ISO/IEC 7812, Luhn)."""
    if not _compiled(_ISSUER).fullmatch(digits):
        return False
    doubled = [sum(divmod(2 * int(each), 10)) for each in digits[-2::-2]]
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def _secrets(screen: Screen, rows: Sequence[int], secret: Secret) -> Iterator[tuple[int, Found]]:
    for row in rows:
        for match in _compiled(secret.pattern).finditer(screen.texts[row]):
            shown, kinds = match.group(), set(match.group()[_SEEN:])
            if len(kinds) >= _LEAST_KINDS or shown[0] == ":":
                what = f"looks like it holds {secret.name}: {shown[:_SEEN]}..."
                fix = "take it out, and revoke it if it is real: a model repeats what it learnt"
                if shown[0] in ":-":
                    what = f"looks like it holds {secret.name}"
                yield row, Found(match.start(), what, fix, "secret")


def _email(match: re.Match[str]) -> Found:
    what = f"looks like it holds an e-mail address: {match.group()}"
    fix = "put a placeholder like [EMAIL] in its place, if it is somebody's"
    return Found(match.start(), what, fix, "personal-data")


def _card(offset: int, digits: str) -> Found:
    what = f"looks like it holds a card number, ending in {digits[-4:]}"
    fix = "put another number in its place, if it is somebody's"
    return Found(offset, what, fix, "personal-data")


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    import re

    return re.compile(pattern)
