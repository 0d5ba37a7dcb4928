"""One calm thread for torch inside the tests' own process: many test processes share a machine."""

from __future__ import annotations

import os

from tuner.engine.threads import CALM

os.environ.update(CALM)

import torch

torch.set_num_threads(1)
