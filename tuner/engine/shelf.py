"""Things that take long to make: made once, aside, and kept until they are unused for longest."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Thing = TypeVar("Thing")


class Shelf(Generic[Thing]):
    """Any thread may ask; each thing is made in a thread of its own, so that nobody waits for another's."""

    def __init__(self, make: Callable[[str], Thing], most: int) -> None:
        """Keep at most so many things, by name."""
        self.make = make
        self.most = most
        self.turn = threading.Lock()
        self.things: OrderedDict[str, Future[Thing]] = OrderedDict()

    def ask(self, name: str) -> Future[Thing]:
        """The thing, or why it could not be made; the next to ask for that one tries again."""
        with self.turn:
            thing = self.things.get(name)
            if thing is None:
                thing = self.things[name] = Future()
                threading.Thread(target=self._fill, args=(thing, name), daemon=True).start()
            self.things.move_to_end(name)
            while len(self.things) > self.most:
                self.things.popitem(last=False)
            return thing

    def get(self, name: str) -> Thing:
        """The thing, waited for."""
        return self.ask(name).result()

    def _fill(self, thing: Future[Thing], name: str) -> None:
        try:
            thing.set_result(self.make(name))
        except Exception as error:  # noqa: BLE001  whoever asked is told
            with self.turn:
                if self.things.get(name) is thing:
                    del self.things[name]
            thing.set_exception(error)
