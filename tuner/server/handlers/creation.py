"""CreateTunedModel: check a request whole, resolve what it leaves open, put it into the queue."""

from __future__ import annotations

import asyncio
import secrets
import string
from typing import TYPE_CHECKING

from tuner import names
from tuner.server.api_errors import ApiError, Code, Violation, hidden, invalid
from tuner.server.handlers import hyperparameters, shapes
from tuner.server.handlers.model_fields import problems, value_of
from tuner.server.service import queue_full
from tuner.server.store import models, operations, queue
from tuner.server.store.models import ModelRow
from tuner.server.store.permissions import PermissionRow
from tuner.types import Example, GranteeType, Role, State

if TYPE_CHECKING:
    from tuner.engine import BaseModel
    from tuner.server.access import Caller
    from tuner.server.messages import Message
    from tuner.server.service import Service

RANDOM_LENGTH = 12
_ALPHABET = string.ascii_lowercase + string.digits
_NO_EXAMPLES = (
    "no example reached the service: set training_data.examples.examples (google-genai 1.47.0 to"
    " 3.4.0 drops the examples it is given; pass them through its http_options.extra_body)"
)


async def create_tuned_model(service: Service, caller: Caller, request: Message) -> Message:
    """CreateTunedModel: returns the operation at once, the tuning waits its turn."""
    asked = request.tuned_model
    parent = await _parent(service, asked.tuned_model_source.tuned_model)
    base = service.engine.base_models.get(parent.base_model if parent else asked.base_model)
    # In threads, here and below: there may be very many, and the loop has other calls.
    data = asked.tuning_task.training_data
    examples, wrong_examples = await asyncio.to_thread(_read_examples, data)
    wrong = [
        *_id_problems(request),
        *problems(asked),
        *_source_problems(service, asked, base),
        *wrong_examples,
        *hyperparameters.problems(asked.tuning_task),
    ]
    if wrong or base is None:
        raise invalid(wrong)
    row = _row(request, base, parent, service.now_ms)
    await _enqueue(service, caller, row, parent, examples)
    service.scheduler.wake()
    created = await service.store.read(operations.find, _operation_name(row))
    if created is None:
        raise hidden(row.name)
    return shapes.operation(created)


def random_id(length: int = RANDOM_LENGTH) -> str:
    """Letters and digits: other characters in ids break google-generativeai."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


async def _enqueue(
    service: Service,
    caller: Caller,
    row: ModelRow,
    parent: ModelRow | None,
    examples: list[Example],
) -> None:
    packed = await asyncio.to_thread(queue.pack_examples, examples)
    person = (GranteeType.USER, caller.email_address)
    owner = PermissionRow(row.name, random_id(), *person, Role.OWNER)
    steps = hyperparameters.total_steps(row, len(examples))
    try:
        await service.store.write(
            queue.add,
            queue.NewTuning(
                row, owner, _operation_name(row), steps, packed, parent.uid if parent else ""
            ),
            queue.Quota(caller.key_id, service.limits.queued),
        )
    except queue.QueueFull as error:
        raise queue_full(caller, service.limits.queued) from error
    except queue.NameTaken as error:
        raise ApiError(
            Code.ALREADY_EXISTS,
            f"{row.name} exists. Choose another tuned_model_id, or leave it out for a fresh one.",
            "NAME_TAKEN",
        ) from error


def _row(request: Message, base: BaseModel, parent: ModelRow | None, now_ms: int) -> ModelRow:
    asked = request.tuned_model
    inherited = {field: value_of(asked, field, base) for field in ("temperature", "top_p", "top_k")}
    chosen = hyperparameters.resolve(asked.tuning_task)
    return ModelRow(
        name=names.tuned_model(request.tuned_model_id or _fresh_id(asked.display_name)),
        uid=random_id(24),
        base_model=base.name,
        source=parent.name if parent else "",
        display_name=asked.display_name,
        description=asked.description,
        temperature=float(inherited["temperature"]),
        top_p=float(inherited["top_p"]),
        top_k=int(inherited["top_k"]),
        state=State.CREATING,
        epoch_count=chosen.epoch_count,
        batch_size=chosen.batch_size,
        learning_rate=chosen.learning_rate,
        create_ms=now_ms,
        update_ms=now_ms,
    )


def _fresh_id(display_name: str) -> str:
    if not display_name.strip():
        return secrets.choice(string.ascii_lowercase) + random_id(RANDOM_LENGTH - 1)
    words = names.slug(display_name, names.MAX_ID_LENGTH - RANDOM_LENGTH - 1)
    return f"{words}-{random_id()}"


def _operation_name(row: ModelRow) -> str:
    return f"{row.name}/operations/{row.uid}"


async def _parent(service: Service, name: str) -> ModelRow | None:
    # Whether the caller may read it was checked before.
    parent = await service.store.read(models.find, name) if name else None
    if parent is not None and parent.state != State.ACTIVE:
        text = f"{name} is {parent.state}; only an ACTIVE model can be tuned further."
        raise ApiError(Code.FAILED_PRECONDITION, text, "SOURCE_NOT_ACTIVE")
    return parent


def _id_problems(request: Message) -> list[Violation]:
    if not request.HasField("tuned_model_id") or names.is_tuned_model_id(request.tuned_model_id):
        return []
    rule = "1 to 40 lower-case letters, digits and hyphens; a letter first, a letter or digit last"
    return [Violation("tuned_model_id", rule)]


def _source_problems(service: Service, asked: Message, base: BaseModel | None) -> list[Violation]:
    if base is not None and "createTunedModel" in base.methods:
        return []
    fit = [m.name for m in service.engine.base_models.values() if "createTunedModel" in m.methods]
    known = f"these can: {', '.join(sorted(fit)) or 'none here'}"
    if asked.WhichOneof("source_model") is None:
        what = f"name a model to tune, or a tuned_model_source; {known}"
    elif base is None:
        what = f"{asked.base_model or 'its base model'!r} is not offered here; {known}"
    else:
        what = f"{base.name} cannot be tuned; {known}"
    return [Violation("tuned_model.base_model", what)]


def _read_examples(data: Message) -> tuple[list[Example], list[Violation]]:
    field = "tuned_model.tuning_task.training_data"
    examples = [Example(each.text_input, each.output) for each in data.examples.examples]
    if not examples:
        return [], [Violation(field, _NO_EXAMPLES)]
    return examples, [
        Violation(f"{field}.examples.examples[{at}].{name}", "is empty")
        for at, each in enumerate(examples)
        for name in ("text_input", "output")
        if not getattr(each, name)
    ]
