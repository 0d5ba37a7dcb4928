"""Conversions between rows of the store and protobuf messages, and checks that several handlers share.

google-generativeai drops a whole list if one model has training_data, a learning rate multiplier or
a time finer than a millisecond, so none of these is ever sent.
"""

from __future__ import annotations

import secrets
import string
from typing import TYPE_CHECKING, Any

from google.protobuf import any_pb2

from tuner.server import messages
from tuner.server.api_errors import ApiError, Code, Violation, to_status

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tuner.engine import BaseModel
    from tuner.server.messages import Message
    from tuner.server.store.models import ModelRow, SnapshotRow
    from tuner.server.store.operations import OperationRow
    from tuner.server.store.permissions import PermissionRow

MAX_TEMPERATURE = 2.0


def random_id(length: int = 12) -> str:
    """Return random letters and digits: other characters in ids break google-generativeai."""
    alphabet = string.ascii_lowercase + string.digits
    return "".join(secrets.choice(alphabet) for _ in range(length))


def shortest(value: float) -> float:
    """Return the shortest decimal of a 32-bit float: 0.001, not 0.0010000000474974513."""
    return float(f"{value:.7g}")


def enum_name(message: Message, field: str) -> str:
    """Return the name of an enum field's value, or its number if it has no name."""
    number = getattr(message, field)
    values = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number
    return str(values[number].name) if number in values else str(number)


def unsupported_fields(
    message: Message, supported: Collection[str], prefix: str = ""
) -> list[Violation]:
    """Return a violation for every field that is set to more than its default and not supported."""
    what = "is not supported by this service; leave it out"
    return [
        Violation(f"{prefix}{field.name.rstrip('_')}", what)
        for field, value in message.ListFields()
        if field.name not in supported and not _is_default(value)
    ]


def base_model(model: BaseModel) -> Message:
    """Return a base model as a Model."""
    message = messages.Model(
        name=model.name,
        base_model_id=model.name.removeprefix("models/"),
        version=model.version,
        display_name=model.display_name or model.name.removeprefix("models/"),
        description=model.description,
        input_token_limit=model.input_token_limit,
        output_token_limit=model.output_token_limit,
        supported_generation_methods=model.methods,
    )
    if "generateContent" in model.methods:
        message.temperature, message.top_p = model.temperature, model.top_p
        message.max_temperature = MAX_TEMPERATURE
        if model.top_k:
            message.top_k = model.top_k
    return message


def tuned_model(row: ModelRow, steps: Sequence[SnapshotRow]) -> Message:
    """Return a row as a TunedModel with the snapshots of its tuning."""
    message = messages.TunedModel(
        name=row.name,
        display_name=row.display_name,
        description=row.description,
        state=row.state,
        temperature=row.temperature,
        top_p=row.top_p,
    )
    message.create_time.FromMilliseconds(row.create_ms)
    message.update_time.FromMilliseconds(row.update_ms)
    if row.top_k:
        message.top_k = row.top_k
    if row.source:
        message.tuned_model_source.tuned_model = row.source
        message.tuned_model_source.base_model = row.base_model
    else:
        message.base_model = row.base_model
    task = message.tuning_task
    task.hyperparameters.epoch_count = row.epoch_count
    task.hyperparameters.batch_size = row.batch_size
    task.hyperparameters.learning_rate = row.learning_rate
    task.snapshots.extend(_snapshots(steps))
    if row.start_ms is not None:
        task.start_time.FromMilliseconds(row.start_ms)
    if row.complete_ms is not None:
        task.complete_time.FromMilliseconds(row.complete_ms)
    return message


def operation(row: OperationRow) -> Message:
    """Return a row as an Operation: always with metadata, and with its result once it is done."""
    metadata = messages.CreateTunedModelMetadata(
        tuned_model=row.model.name,
        total_steps=row.total_steps,
        completed_steps=row.completed_steps,
        completed_percent=100 * row.completed_steps / row.total_steps,
        snapshots=_snapshots(row.snapshots),
    )
    message = messages.Operation(name=row.name, metadata=_packed(metadata), done=row.done)
    if row.error_code:
        error = ApiError(Code(row.error_code), row.error_message, "TUNING_ENDED")
        message.error.CopyFrom(to_status(error))
    elif row.done:
        message.response.CopyFrom(_packed(tuned_model(row.model, row.snapshots)))
    return message


def permission(row: PermissionRow) -> Message:
    """Return a row as a Permission; EVERYONE has no e-mail address."""
    message = messages.Permission(
        name=f"{row.model}/permissions/{row.id}", grantee_type=row.grantee_type, role=row.role
    )
    if row.email_address:
        message.email_address = row.email_address
    return message


def _is_default(value: Any) -> bool:
    if hasattr(value, "ListFields"):
        return all(_is_default(inner) for _, inner in value.ListFields())
    return not value


def _snapshots(rows: Sequence[SnapshotRow]) -> list[Message]:
    found = []
    for row in rows:
        snapshot = messages.TuningSnapshot(step=row.step, epoch=row.epoch, mean_loss=row.mean_loss)
        snapshot.compute_time.FromMilliseconds(row.compute_ms)
        found.append(snapshot)
    return found


def _packed(message: Message) -> Message:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
