"""A failure as lines that quote nobody: of what kind it is and where it happened, without its words.

An exception's words may repeat what somebody sent, and these lines go to logs.
"""

from __future__ import annotations

import traceback


def text(error: BaseException) -> str:
    """A failure with what led to it, the first cause first: a line a kind, and one a frame."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    parts = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    before = [text(each) for each in (cause, *parts) if each is not None]
    return "\n".join([*before, type(error).__qualname__, *_frames(error)])


def _frames(error: BaseException) -> list[str]:
    found = traceback.extract_tb(error.__traceback__)
    return [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in found]
