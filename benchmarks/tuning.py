"""Our training loop against a plain loop of transformers and PEFT, on the same rows.

    python benchmarks/tuning.py [--rows 112] [--batch-size 16]

Both tune SmolLM2-135M-Instruct in bfloat16 with LoRA on all linear layers (r 8, alpha 16), the same
initial adapter, the same batches in the same order, the same optimizer, on as many threads. The losses
are compared first. Then steps are timed in turns, so that a busy machine is busy for both.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tuner.engine.child_process import OPENMP_PASSIVE_ENV, available_cpus

os.environ.update(OPENMP_PASSIVE_ENV)

import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from tuner.engine import batches, checkpoint, lora, models, train
from tuner.engine.base_models import known_base_model, pull
from tuner.engine.chat import open_chat
from tuner.home import models_folder
from tuner.types import Example

Stepper = Callable[[list[batches.Row]], float]
DATA = Path(__file__).parent.parent / "datasets" / "product_reviews.csv"
QUESTION = "Is this product review positive or negative? Answer with one word.\n\n"
RATE = 1e-3
MOST_APART = 0.05  # of the loss: bfloat16 rounds the two orders of the same sums differently


def examples(path: Path, count: int) -> list[Example]:
    """Real rows, as a job would have them."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:count]
    return [Example(QUESTION + row["text_input"], row["output"]) for row in rows]


def plain_loop(folder: Path, adapter: lora.Adapter) -> Stepper:
    """What one writes first: padded batches, logits everywhere, labels of -100 on the prompt."""
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    config = LoraConfig(r=lora.RANK, lora_alpha=lora.ALPHA, target_modules="all-linear")
    model = get_peft_model(base, config)
    set_peft_model_state_dict(model, {k: v.detach().clone() for k, v in adapter.tensors.items()})
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE)

    def step(batch: list[batches.Row]) -> float:
        length = max(map(len, batch))
        ids = torch.zeros(len(batch), length, dtype=torch.long)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        for number, row in enumerate(batch):
            ids[number, : len(row)] = torch.tensor(row.prompt + row.answer)
            mask[number, : len(row)] = 1
            labels[number, len(row.prompt) : len(row)] = torch.tensor(row.answer)
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        loss = cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def our_loop(model: models.CausalModel, adapter: lora.Adapter) -> Stepper:
    """The engine's own step, at a constant rate."""
    progress = checkpoint.initial_progress(model.trainable(adapter))
    threads = train.thread_pool(available_cpus(), available_cpus())
    done = 0

    def step(batch: list[batches.Row]) -> float:
        nonlocal done
        at = checkpoint.Progress(done, progress.adapter, progress.moments)
        done += 1
        return train.training_step(model, batches.deal(batch, available_cpus()), at, RATE, threads)

    return step


def timed(step: Stepper, batch: list[batches.Row]) -> tuple[float, float]:
    """Tokens a second of one step, padding not counted, and its loss."""
    start = time.perf_counter()
    loss = step(batch)
    return sum(map(len, batch)) / (time.perf_counter() - start), loss


def main() -> None:
    """Compare losses, then speeds."""
    words = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    words.add_argument("--rows", type=int, default=112)
    words.add_argument("--batch-size", type=int, default=16)
    words.add_argument("--data", type=Path, default=DATA)
    options = words.parse_args()
    torch.set_num_threads(available_cpus())
    folder = pull(known_base_model("smollm2-135m-instruct"), models_folder())
    model = models.load(folder, torch.bfloat16)
    rows = batches.rows(examples(options.data, options.rows), open_chat(folder), model.context)
    adapter = model.new_adapter(0)
    loops = {"transformers + PEFT": plain_loop(folder, adapter), "tuner": our_loop(model, adapter)}
    speeds = {name: [] for name in loops}
    for number, batch in enumerate(batches.epoch(rows, options.batch_size, 0, 1), start=1):
        losses = {}
        for name, step in loops.items():
            speed, losses[name] = timed(step, batch)
            speeds[name].append(speed)
        one, other = losses.values()
        print(f"step {number}: loss {one:.4f} and {other:.4f}")
        if number == 1 and abs(one - other) > MOST_APART * one:
            sys.exit("the losses of the first step differ: the loops do not compute the same")
    # The first step of each loads code and memory, and is not timed.
    medians = {name: statistics.median(found[1:]) for name, found in speeds.items()}
    for name, speed in medians.items():
        print(f"{name:20} {speed:6.0f} tokens/s")
    print(f"ratio {medians['tuner'] / medians['transformers + PEFT']:.2f}")


if __name__ == "__main__":
    main()
