"""One calm thread for torch inside the tests' own process: many test processes share a machine."""

from __future__ import annotations

import os

from tuner.engine.threads import CALM

os.environ.update(CALM)

import torch  # noqa: E402  it reads the environment when it is loaded

torch.set_num_threads(1)
