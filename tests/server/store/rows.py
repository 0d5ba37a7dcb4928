"""Rows that several tests of the store write."""

from __future__ import annotations

from tuner.server.store import queue
from tuner.server.store.models import ModelRow, SnapshotRow
from tuner.server.store.permissions import PermissionRow
from tuner.types import Example

EXAMPLES = (Example("1", "2"), Example("a\u2028b", "ü"))
NAME = "tunedModels/m"
OPERATION = "tunedModels/m/operations/o"
LEASE_MS = 1000


def model(name=NAME, uid="u"):
    sampling = (1.0, 1.0, 0)
    return ModelRow(name, uid, "models/tiny", "", "", "", *sampling, "CREATING", 5, 4, 0.001, 1, 1)


def owner(name=NAME):
    return PermissionRow(name, "p", "USER", "a@x.org", "OWNER")


def new_tuning(row=None, operation=OPERATION, total_steps=5):
    row = row or model()
    packed = queue.pack_examples(EXAMPLES)
    return queue.NewTuning(row, owner(row.name), operation, total_steps, packed)


def add(store, row=None, operation=OPERATION, total_steps=5):
    store.run(queue.add, new_tuning(row, operation, total_steps))


def step(number, loss=1.0):
    return SnapshotRow(number, 1, loss, 1000 + number)
