"""Why keys that several vendors have are of no use here, each in a sentence."""

from __future__ import annotations

RECORD = "a record of that job: there is nothing to set"
ADAPTER = "the local service tunes LoRA of rank 8 and alpha 16 on all linear layers"
FULL = (
    "only LoRA is tuned here, with less learnt and less forgotten than by tuning all weights; it"
    " wants a learning rate some ten times as high"
)
OPTIMIZER = "the service has its own optimizer, AdamW on this machine, and its own settings of it"
SCHEDULE = (
    "on this machine the rate rises over the first tenth of the steps and then falls in a line"
)
SEED = "the tuning API has no seed; the same spec is never tuned twice unless --new asks for it"
TRACKER = "nothing is sent to a tracker; `tuner watch` shows the loss while it tunes"
SAVING = "checkpoints are kept as a tuning goes, and it resumes from them by itself"
EVALUATING = "base and tuned model are asked the held-out rows once, when the tuning is done"
PRECISION = "how numbers are held and kernels chosen is the service's own affair"
MANY = "a tuning runs in one process of one machine"
LOADING = "how data and models are read and kept is the service's own affair"
LENGTH = (
    "rows beyond it were cut or left out there; here all are tuned on whole, up to the target's own"
    " limit, and `tuner data check` names those beyond that"
)
PACKING = "rows are never cut or packed; those that begin alike share that computation"
HUB = "nothing is fetched from or sent to a model hub in the course of a job"
TEMPLATE = "the base model's own chat template is used, in tuning and in inference alike"
LOSS_ON_ALL = "the loss is on the answer alone here, never on the input"
LOSS_ON_OUTPUT = "the loss is on the answer alone"
PREFERENCES = "tuning here learns one answer to an input; pairs, rewards and graders are not used"
LABELS = "there is no place for labels of your own; description holds a text"
OPEN_MODEL = (
    "base_model is the small model in the box; for this one, `tuner serve --base-model NAME=PATH` "
    "and base_model: models/NAME"
)
