"""What a listing of operations showed last, so that what has not changed is not decoded again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.targets import wire

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from google.longrunning import operations_pb2

    from tuner.types import Operation


class Seen:
    """Operations by name, each with the bytes it was decoded from."""

    def __init__(self) -> None:
        """Nothing has been seen yet."""
        self._last: dict[str, tuple[bool, bytes, Operation]] = {}

    def read(
        self, page: Iterable[operations_pb2.Operation], names: Collection[str]
    ) -> dict[str, Operation]:
        """Those of a page that have one of ``names``; an unchanged one is the very same object."""
        return {raw.name: self._read(raw) for raw in page if raw.name in names}

    def keep(self, names: Collection[str]) -> None:
        """Forget all others."""
        for name in [each for each in self._last if each not in names]:
            del self._last[name]

    def _read(self, raw: operations_pb2.Operation) -> Operation:
        done, metadata, known = self._last.get(raw.name, (False, b"", None))
        if known is None or (raw.done, raw.metadata.value) != (done, metadata):
            known = wire.operation(raw, known)
            self._last[raw.name] = raw.done, raw.metadata.value, known
        return known
