"""Rows as the messages that clients read.

google-generativeai drops a whole list for one model with training_data, a learning rate
multiplier or a time finer than a millisecond, so none of these is ever sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import any_pb2, timestamp_pb2

from tuner.server import messages
from tuner.server.api_errors import ApiError, Code, to_status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.engine import BaseModel
    from tuner.server.messages import Message
    from tuner.server.store.models import ModelRow, SnapshotRow
    from tuner.server.store.operations import OperationRow
    from tuner.server.store.permissions import PermissionRow

MAX_TEMPERATURE = 2.0


def base_model(model: BaseModel) -> Message:
    """A base model."""
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
    """A tuned model with the snapshots of its tuning."""
    message = messages.TunedModel(
        name=row.name,
        display_name=row.display_name,
        description=row.description,
        state=row.state,
        create_time=timestamp(row.create_ms),
        update_time=timestamp(row.update_ms),
        temperature=row.temperature,
        top_p=row.top_p,
    )
    if row.top_k:
        message.top_k = row.top_k
    if row.source:
        message.tuned_model_source.tuned_model = row.source
        message.tuned_model_source.base_model = row.base_model
    else:
        message.base_model = row.base_model
    _fill_task(message.tuning_task, row, steps)
    return message


def operation(row: OperationRow) -> Message:
    """An operation: always with metadata, and with its result once it is done."""
    metadata = messages.CreateTunedModelMetadata(
        tuned_model=row.model.name,
        total_steps=row.total_steps,
        completed_steps=row.completed_steps,
        completed_percent=100 * row.completed_steps / row.total_steps,
        snapshots=snapshots(row.snapshots),
    )
    message = messages.Operation(name=row.name, metadata=_packed(metadata), done=row.done)
    if row.error_code:
        refused = ApiError(Code(row.error_code), row.error_message, "TUNING_ENDED")
        message.error.CopyFrom(to_status(refused))
    elif row.done:
        message.response.CopyFrom(_packed(tuned_model(row.model, row.snapshots)))
    return message


def snapshots(steps: Sequence[SnapshotRow]) -> list[Message]:
    """The steps of a tuning."""
    return [_snapshot(step) for step in steps]


def permission(row: PermissionRow) -> Message:
    """A permission; EVERYONE has no e-mail address."""
    message = messages.Permission(
        name=f"{row.model}/permissions/{row.id}", grantee_type=row.grantee_type, role=row.role
    )
    if row.email_address:
        message.email_address = row.email_address
    return message


def timestamp(ms: int) -> Message:
    """A point in time, to the millisecond."""
    message = timestamp_pb2.Timestamp()
    message.FromMilliseconds(ms)
    return message


def _fill_task(task: Message, row: ModelRow, steps: Sequence[SnapshotRow]) -> None:
    task.hyperparameters.epoch_count = row.epoch_count
    task.hyperparameters.batch_size = row.batch_size
    task.hyperparameters.learning_rate = row.learning_rate
    task.snapshots.extend(snapshots(steps))
    if row.start_ms is not None:
        task.start_time.FromMilliseconds(row.start_ms)
    if row.complete_ms is not None:
        task.complete_time.FromMilliseconds(row.complete_ms)


def _snapshot(row: SnapshotRow) -> Message:
    snapshot = messages.TuningSnapshot(step=row.step, epoch=row.epoch, mean_loss=row.mean_loss)
    snapshot.compute_time.FromMilliseconds(row.compute_ms)
    return snapshot


def _packed(message: Message) -> Message:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
