"""One calm thread for torch inside the tests' own process: many test processes share a machine."""

from __future__ import annotations

import os

from tuner.engine.child_process import OPENMP_PASSIVE_ENV

os.environ.update(OPENMP_PASSIVE_ENV)

import torch

torch.set_num_threads(1)
