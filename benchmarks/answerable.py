"""Fit and judge `answerable_probability` of GenerateAnswer on datasets/questions.jsonl.

    python benchmarks/answerable.py

Every question is asked of three sets of passages: its own alone, its own with two others, and three
others, which do not answer it; half of the sets that cannot answer hold a passage on the very topic. Sets
count so that those with and without an answer weigh the same. What is printed of a set comes from weights
fitted on other topics; those in the last lines are fitted on all, for tuner/server/handlers/answers.py.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from random import Random

import numpy as np

from tuner.engine import base_models
from tuner.engine.embed import Embedder
from tuner.home import models_folder
from tuner.server.handlers import answers

DATA = Path(__file__).parent.parent / "datasets" / "questions.jsonl"
FOLDS = 8
RIDGE = 1e-3
NAMES = {"sentences and words": [0, 1], "words alone": [1]}


async def rows() -> np.ndarray:
    """One set of passages a row: likeness, coverage, whether it answers, topic, whether it is on it."""
    embedder = Embedder(
        base_models.pull(base_models.known_base_model(answers.EMBEDDER), models_folder())
    )

    async def embed(texts: list[str]) -> list[list[float]]:
        return embedder.embed(texts)

    topics = [json.loads(line) for line in DATA.read_text("utf-8").splitlines()]
    passages = [topic["passage"] for topic in topics]
    asked = [
        (number, question, is_answered)
        for number, topic in enumerate(topics)
        for kind, is_answered in (("answerable", 1), ("unanswerable", 0))
        for question in topic[kind]
    ]
    matches = await answers.compare([question for _, question, _ in asked], passages, embed)
    random, made = Random(0), []
    for (own, _, is_answered), found in zip(asked, matches, strict=True):
        others = random.sample([n for n in range(len(topics)) if n != own], 3)
        for chosen, label in (([own], is_answered), ([own, *others[:2]], is_answered), (others, 0)):
            likeness = max(found[number].similarity for number in chosen)
            coverage = max(found[number].coverage for number in chosen)
            made.append((likeness, coverage, label, own, own in chosen))
    return np.array(made)


def fit(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Logistic regression by Newton's steps; the constant comes last."""
    x = np.column_stack([features, np.ones(len(features))])
    each = weights_of(labels)
    weights = np.zeros(x.shape[1])
    for _ in range(30):
        chance = predict(features, weights)
        slope = x.T @ (each * (chance - labels)) + RIDGE * weights
        bend = (x.T * (each * chance * (1 - chance))) @ x + RIDGE * np.eye(len(weights))
        weights -= np.linalg.solve(bend, slope)
    return weights


def predict(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-(features @ weights[:-1] + weights[-1])))


def weights_of(labels: np.ndarray) -> np.ndarray:
    """How much each row counts: half for those with an answer."""
    share = labels.mean()
    return np.where(labels == 1, 0.5 / share, 0.5 / (1 - share))


def held_out(features: np.ndarray, labels: np.ndarray, topics: np.ndarray) -> np.ndarray:
    chances = np.zeros(len(labels))
    for fold in range(FOLDS):
        out = topics % FOLDS == fold
        chances[out] = predict(features[out], fit(features[~out], labels[~out]))
    return chances


def auc(chances: np.ndarray, labels: np.ndarray) -> float:
    """How often a set that answers is above one that does not; ties count half."""
    yes, no = chances[labels == 1][:, None], chances[labels == 0]
    return float(((yes > no) + 0.5 * (yes == no)).mean())


def show(name: str, chances: np.ndarray, found: np.ndarray) -> None:
    labels, on_topic = found[:, 2], found[:, 4] == 1
    hard = auc(chances[on_topic], labels[on_topic])
    each = weights_of(labels)
    brier = np.average((chances - labels) ** 2, weights=each)
    print(
        f"{name}: AUC {auc(chances, labels):.3f} ({hard:.3f} on the topic), Brier {brier:.3f} (0.250 for always 0.5)"
    )
    for low in np.arange(0, 1, 0.2):
        within = (chances >= low) & (chances < low + 0.2)
        said, true = (np.average(x[within], weights=each[within]) for x in (chances, labels))
        print(f"  said {said:.2f}   answered {true:.2f}   {int(within.sum())} sets")


def main() -> None:
    found = asyncio.run(rows())
    labels, topics = found[:, 2], found[:, 3].astype(int)
    print(f"{len(found)} sets of passages on {len(set(topics))} topics, {labels.mean():.0%} answer")
    print(f"the nearest sentence's cosine alone: AUC {auc(found[:, 0], labels):.3f}")
    for name, columns in NAMES.items():
        show(name, held_out(found[:, columns], labels, topics), found)
    for name, columns in NAMES.items():
        *weights, constant = fit(found[:, columns], labels)
        print(f"{name}: {' '.join(f'{weight:.2f}' for weight in weights)} constant {constant:.2f}")


if __name__ == "__main__":
    main()
