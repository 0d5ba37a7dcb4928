"""The methods of ModelService for tuned models: create, get, list, update and delete."""

from __future__ import annotations

import asyncio
import math
import secrets
import string
from typing import TYPE_CHECKING, Any

from tuner import names
from tuner.server import messages
from tuner.server.api_errors import ApiError, Code, Violation, hidden, invalid
from tuner.server.handlers import converters
from tuner.server.handlers.converters import random_id, shortest
from tuner.server.handlers.paging import parse_filter, parse_page
from tuner.server.messages import raw
from tuner.server.service import queue_full
from tuner.server.store import models, operations, queue
from tuner.server.store.models import ModelRow
from tuner.server.store.permissions import PermissionRow
from tuner.types import Example, GranteeType, Role, State

if TYPE_CHECKING:
    from tuner.engine import BaseModel
    from tuner.server.access import Caller
    from tuner.server.handlers.paging import Page
    from tuner.server.messages import Message
    from tuner.server.service import Service
    from tuner.server.store.database import Transaction

PAGE_SIZE = 10
RANDOM_LENGTH = 12
# Google documents the defaults (5 epochs; batches of 4 or 16 and a learning rate of 0.001 or 0.0002 by
# the number of examples), but not the number where they change.
DEFAULT_EPOCHS = 5
LARGE_DATASET_EXAMPLES = 1_000
MAX_STEPS = 2**31 - 1  # total_steps is an int32
MAX_LENGTHS = {
    "display_name": 40,
    "description": 10_000,  # our own limit: lists contain it, and gRPC clients accept 4 MiB
}
EDITABLE = ("display_name", "description", "temperature", "top_p", "top_k")
_SAMPLING = ("temperature", "top_p", "top_k")
_OUTPUT_ONLY = ("name", "state", "create_time", "update_time")  # ignored in requests (AIP-203)
_IMMUTABLE = ("base_model", "tuned_model_source", "tuning_task")
_NO_EXAMPLES = (
    "no example reached the service: set training_data.examples.examples (google-genai 1.47.0 to"
    " 3.4.0 drops the examples it is given; pass them through its http_options.extra_body)"
)


async def create_tuned_model(service: Service, caller: Caller, request: Message) -> Message:
    """Queue a tuning and return its operation."""
    wanted = request.tuned_model
    parent = await _find_parent(service, wanted.tuned_model_source.tuned_model)
    base = service.engine.base_models.get(parent.base_model if parent else wanted.base_model)
    data = wanted.tuning_task.training_data.examples
    # In threads: there may be very many examples.
    examples, example_problems = await asyncio.to_thread(_read_examples, data)
    wrong = [
        *_id_problems(request),
        *_field_problems(wanted),
        *_source_problems(service, wanted, base),
        *example_problems,
        *_hyperparameter_problems(wanted.tuning_task, len(examples)),
    ]
    if wrong or base is None:
        raise invalid(wrong)
    row = _new_row(request, base, parent, service.now_ms)
    new = queue.NewTuning(
        row,
        PermissionRow(row.name, random_id(), GranteeType.USER, caller.email_address, Role.OWNER),
        operation_name=f"{row.name}/operations/{row.uid}",
        total_steps=row.epoch_count * -(-len(examples) // row.batch_size),
        examples=await asyncio.to_thread(queue.pack_examples, examples),
        parent_uid=parent.uid if parent else "",
    )
    try:
        await service.store.write(queue.add, new, queue.Quota(caller.key_id, service.limits.queued))
    except queue.QueueFull as error:
        raise queue_full(caller, service.limits.queued) from error
    except queue.NameTaken as error:
        fix = "Choose another tuned_model_id, or leave it out for a new one"
        raise ApiError(Code.ALREADY_EXISTS, f"{row.name} exists. {fix}.", "NAME_TAKEN") from error
    service.scheduler.wake()
    created = await service.store.read(operations.find, new.operation_name)
    if created is None:
        raise hidden(row.name)
    return converters.operation(created)


async def get_tuned_model(service: Service, _caller: Caller, request: Message) -> Message:
    """Return a tuned model with its snapshots."""
    return await _get(service, request.name)


async def list_tuned_models(service: Service, caller: Caller, request: Message) -> Message:
    """List the caller's models and those shared with the caller, newest first.

    Models shared with everyone are listed only with the filter ``readers:everyone``.
    """
    page = parse_page(request, caller, PAGE_SIZE, request.filter)
    query = parse_filter(request.filter, caller.own_grantees)
    return await service.store.read(_list, page, query)


async def update_tuned_model(service: Service, _caller: Caller, request: Message) -> Message:
    """Change display_name, description, temperature, top_p or top_k."""
    name = request.tuned_model.name
    row = await service.store.read(models.find, name)
    if row is None:
        raise hidden(name)
    base = service.engine.base_models.get(row.base_model)
    changes = _changes(request.tuned_model, list(request.update_mask.paths), row, base)
    if changes:
        await service.store.write(models.update, name, changes, service.now_ms, topic=name)
    return await _get(service, name)


async def delete_tuned_model(service: Service, _caller: Caller, request: Message) -> Message:
    """Delete a model with its weights and permissions; cancel its tuning."""
    row = await service.store.read(models.find, request.name)
    await service.store.write(models.delete, request.name, topic=request.name)
    if row is not None:
        await service.scheduler.stop(row.uid)
    await service.scheduler.remove_unused_folders()
    return messages.Empty()


async def _get(service: Service, name: str) -> Message:
    found = await service.store.read_cached(_find, name, topic=name)
    if found is None:
        raise hidden(name)
    return found


def _find(connection: Transaction, name: str) -> Message | None:
    found = models.with_snapshots(connection, [name])
    return converters.tuned_model(*found[0]) if found else None


def _list(connection: Transaction, page: Page, query: models.ModelQuery) -> Message:
    found = models.page(connection, query, page.position, page.size + 1)
    listed, token = page.cut(
        [(position, converters.tuned_model(row, steps)) for position, row, steps in found]
    )
    return messages.ListTunedModelsResponse(tuned_models=listed, next_page_token=token)


async def _find_parent(service: Service, name: str) -> ModelRow | None:
    # The caller's permission to read it was checked before.
    parent = await service.store.read(models.find, name) if name else None
    if parent is not None and parent.state != State.ACTIVE:
        text = f"{name} is {parent.state}; only an ACTIVE model can be tuned further."
        raise ApiError(Code.FAILED_PRECONDITION, text, "SOURCE_NOT_ACTIVE")
    return parent


def _new_row(request: Message, base: BaseModel, parent: ModelRow | None, now_ms: int) -> ModelRow:
    wanted = request.tuned_model
    return ModelRow(
        name=names.tuned_model(request.tuned_model_id or _new_id(wanted.display_name)),
        uid=random_id(24),
        base_model=base.name,
        source=parent.name if parent else "",
        display_name=wanted.display_name,
        description=wanted.description,
        temperature=float(_value(wanted, "temperature", base)),
        top_p=float(_value(wanted, "top_p", base)),
        top_k=int(_value(wanted, "top_k", base)),
        state=State.CREATING,
        **_hyperparameters(wanted.tuning_task),
        create_ms=now_ms,
        update_ms=now_ms,
    )


def _hyperparameters(task: Message) -> dict[str, Any]:
    """Return the hyperparameters of a task, with defaults and the multiplier applied."""
    wanted = task.hyperparameters
    is_large = len(task.training_data.examples.examples) >= LARGE_DATASET_EXAMPLES
    learning_rate = 0.0002 if is_large else 0.001
    option = wanted.WhichOneof("learning_rate_option")
    if option == "learning_rate":
        learning_rate = shortest(wanted.learning_rate)
    elif option:
        learning_rate = shortest(learning_rate * shortest(wanted.learning_rate_multiplier))
    default_batch_size = 16 if is_large else 4
    return {
        "epoch_count": wanted.epoch_count if wanted.HasField("epoch_count") else DEFAULT_EPOCHS,
        "batch_size": wanted.batch_size if wanted.HasField("batch_size") else default_batch_size,
        "learning_rate": learning_rate,
    }


def _new_id(display_name: str) -> str:
    if not display_name.strip():
        return secrets.choice(string.ascii_lowercase) + random_id(RANDOM_LENGTH - 1)
    words = names.slug(display_name, names.MAX_ID_LENGTH - RANDOM_LENGTH - 1)
    return f"{words}-{random_id(RANDOM_LENGTH)}"


def _id_problems(request: Message) -> list[Violation]:
    if not request.HasField("tuned_model_id") or names.is_tuned_model_id(request.tuned_model_id):
        return []
    rule = "1 to 40 lower-case letters, digits and hyphens; a letter first, a letter or digit last"
    return [Violation("tuned_model_id", rule)]


def _source_problems(service: Service, wanted: Message, base: BaseModel | None) -> list[Violation]:
    if base is not None and "createTunedModel" in base.methods:
        return []
    known = service.engine.base_models.values()
    tunable = sorted(each.name for each in known if "createTunedModel" in each.methods)
    fix = f"these can be tuned: {', '.join(tunable) or 'none'}"
    if wanted.WhichOneof("source_model") is None:
        what = f"name a model to tune, or a tuned_model_source; {fix}"
    elif base is None:
        what = f"{wanted.base_model or 'its base model'!r} is not offered here; {fix}"
    else:
        what = f"{base.name} cannot be tuned; {fix}"
    return [Violation("tuned_model.base_model", what)]


def _read_examples(data: Message) -> tuple[list[Example], list[Violation]]:
    field = "tuned_model.tuning_task.training_data"
    examples = [Example(each.text_input, each.output) for each in data.examples]
    if not examples:
        return [], [Violation(field, _NO_EXAMPLES)]
    return examples, [
        Violation(f"{field}.examples.examples[{at}].{name}", "is empty")
        for at, each in enumerate(examples)
        for name in ("text_input", "output")
        if not getattr(each, name)
    ]


def _hyperparameter_problems(task: Message, examples: int) -> list[Violation]:
    wanted = task.hyperparameters
    found = [
        (field, f"must be 1 or more, not {getattr(wanted, field)}")
        for field in ("epoch_count", "batch_size")
        if wanted.HasField(field) and getattr(wanted, field) < 1
    ]
    option = wanted.WhichOneof("learning_rate_option")
    rate = getattr(wanted, option) if option else 1.0
    if not (math.isfinite(rate) and rate > 0):
        found.append((option, f"must be a number above 0, not {shortest(rate)}"))
    steps = wanted.epoch_count * examples
    if not found and steps > MAX_STEPS:
        found.append(("epoch_count", f"{steps} examples in all, at most {MAX_STEPS}"))
    return [_violation(f"tuning_task.hyperparameters.{field}", what) for field, what in found]


def _field_problems(model: Message) -> list[Violation]:
    """Check the editable fields."""
    found = []
    for field, max_length in MAX_LENGTHS.items():
        text = getattr(model, field)
        if len(text) > max_length:
            found.append((field, f"{len(text)} characters, at most {max_length}"))
        if "\0" in text:
            found.append((field, "must not have a NUL character: PostgreSQL cannot store it"))
    for field in ("temperature", "top_p"):
        value = getattr(model, field)
        if not 0 <= value <= 1:
            found.append((field, f"must be from 0 to 1, not {shortest(value)}"))
    if model.HasField("top_k") and model.top_k < 1:
        found.append(("top_k", f"must be 1 or more, not {model.top_k}"))
    if model.reader_project_numbers:
        found.append(("reader_project_numbers", "there are no projects here: grant READER"))
    return [_violation(field, what) for field, what in found]


def _value(model: Message, field: str, base: BaseModel | None) -> str | float:
    """Return an editable field's value; sampling that is not set is the base model's."""
    if field not in _SAMPLING:
        return str(getattr(model, field))
    if model.HasField(field):
        value = getattr(model, field)
        return value if field == "top_k" else shortest(value)
    return getattr(base, field) if base else {"temperature": 1.0, "top_p": 1.0, "top_k": 0}[field]


def _changes(
    model: Message, mask: list[str], row: ModelRow, base: BaseModel | None
) -> dict[str, str | float]:
    """Return what an update changes: without a mask the fields that are set, with ``*`` all editable.

    Other fields may be named if their value is the current one: clients send models back complete.

    Raises:
        ApiError: A field is immutable, output only or unknown, or its value is invalid.
    """
    named = [path.removeprefix("tuned_model.") for path in mask]
    named = named or [field.name for field, _ in model.ListFields()]
    paths = [path for path in named if not _is_unchanged(path, model, row)]
    wrong = []
    for path in paths:
        if path.partition(".")[0] in _IMMUTABLE:
            wrong.append(_violation(path, "cannot be changed: tune a new model"))
        elif path not in {*EDITABLE, "*"}:
            what = f"cannot be changed; these can: {', '.join(EDITABLE)}"
            wrong.append(_violation(path, what))
    fields = EDITABLE if "*" in paths else [field for field in EDITABLE if field in paths]
    wrong += [each for each in _field_problems(model) if each.field.rpartition(".")[2] in fields]
    if wrong:
        raise invalid(wrong)
    return {field: _value(model, field, base) for field in fields}


def _is_unchanged(path: str, model: Message, row: ModelRow) -> bool:
    match path:
        case "base_model":
            return bool(model.base_model == row.base_model)
        case "tuned_model_source":
            return bool(model.tuned_model_source.tuned_model == row.source)
        case "tuning_task":
            # As 32-bit floats, like the request's.
            current = raw("Hyperparameters")(
                epoch_count=row.epoch_count,
                batch_size=row.batch_size,
                learning_rate=row.learning_rate,
            )
            task = model.tuning_task
            wanted = task.hyperparameters.ListFields()
            is_same = all(getattr(current, field.name) == value for field, value in wanted)
            return is_same and not task.HasField("training_data")
    return path in _OUTPUT_ONLY


def _violation(field: str, what: str) -> Violation:
    return Violation(f"tuned_model.{field}", what)
