"""E-mail addresses: what is one, and what to say of what is none."""

from __future__ import annotations

import re

from tuner.errors import InvalidInput, Problem

MAX_LENGTH = 254  # RFC 5321 leaves no room for more
_EMAIL = re.compile(r"[^@\s\0]+@[^@\s\0]+")


def is_email(text: str) -> bool:
    """Whether it could be one; nobody but its mail server can tell for sure."""
    return len(text) <= MAX_LENGTH and _EMAIL.fullmatch(text) is not None


def check_emails(*texts: str) -> None:
    """Name everything that is no address. Raises InvalidInput."""
    wrong = [each for each in texts if not is_email(each)]
    fix = "write it as ana@example.com"
    if wrong:
        raise InvalidInput(
            [Problem("", 0, 0, f"{each!r} is not an e-mail address", fix) for each in wrong]
        )
