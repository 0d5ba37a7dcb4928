"""Google's messages made from our vocabulary, and read back into it.

Messages are filled raw (``.pb()``): proto-plus is five times slower, and keeps the last of two
exclusive fields in silence.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from google.ai import generativelanguage_v1beta as gl
from google.longrunning import operations_pb2
from google.protobuf.message import Message

from tuner.names import operation_parent
from tuner.types import (
    Answer,
    Grant,
    GranteeType,
    Hyperparameters,
    Model,
    Operation,
    Permission,
    Role,
    Snapshot,
    State,
    TunedModel,
)

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from tuner.types import GenerationConfig, NewTunedModel

PAGE_SIZE = 1000
SETTINGS = ("temperature", "top_p", "top_k")
UPDATABLE = ("display_name", "description", *SETTINGS)
CANCELLED = 1  # google.rpc.Code


# -- requests -------------------------------------------------------------------------------------


def create_request(new: NewTunedModel) -> gl.CreateTunedModelRequest:
    """Return the request that creates a tuned model, with the examples' texts unchanged."""
    raw = gl.CreateTunedModelRequest.pb()(tuned_model_id=new.id)
    model = raw.tuned_model
    model.display_name, model.description = new.display_name, new.description
    if new.tuned_model_source:
        model.tuned_model_source.tuned_model = new.tuned_model_source
    else:
        model.base_model = new.base_model
    _fill(model, new, SETTINGS)
    _fill(model.tuning_task.hyperparameters, new.hyperparameters, Hyperparameters.__slots__)
    add = model.tuning_task.training_data.examples.examples.add
    for each in new.examples:
        row = add()  # passing the fields as arguments takes longer
        row.text_input, row.output = each.text_input, each.output
    return gl.CreateTunedModelRequest.wrap(raw)


def serialized(request: Any) -> bytes:
    """Return the bytes of a request, which may be serialized already."""
    if isinstance(request, bytes):
        return request
    encoded: bytes = unwrapped(request).SerializeToString()
    return encoded


def update_request(name: str, changes: dict[str, str | float | int]) -> gl.UpdateTunedModelRequest:
    """Return the request that changes some of UPDATABLE."""
    raw = gl.UpdateTunedModelRequest.pb()()
    raw.tuned_model.name = name
    for field, value in changes.items():
        setattr(raw.tuned_model, field, value)
    raw.update_mask.paths.extend(changes)
    return gl.UpdateTunedModelRequest.wrap(raw)


def grant_request(tuned_model: str, grant: Grant) -> gl.CreatePermissionRequest:
    """Return the request that creates a permission."""
    raw = gl.CreatePermissionRequest.pb()(parent=tuned_model)
    permission_type = gl.Permission.pb()
    raw.permission.role = permission_type.Role.Value(grant.role)
    raw.permission.grantee_type = permission_type.GranteeType.Value(grant.grantee_type)
    if grant.email_address:
        raw.permission.email_address = grant.email_address
    return gl.CreatePermissionRequest.wrap(raw)


def role_request(permission: str, role: Role) -> gl.UpdatePermissionRequest:
    """Return the request that changes a role."""
    raw = gl.UpdatePermissionRequest.pb()()
    raw.permission.name = permission
    raw.permission.role = gl.Permission.pb().Role.Value(role)
    raw.update_mask.paths.append("role")
    return gl.UpdatePermissionRequest.wrap(raw)


def generate_request(
    model: str, prompt: str, config: GenerationConfig
) -> gl.GenerateContentRequest:
    """Return a request with one user turn."""
    raw = gl.GenerateContentRequest.pb()(model=model)
    raw.contents.add(role="user").parts.add(text=prompt)
    _fill(raw.generation_config, config, ("max_output_tokens", *SETTINGS, "seed"))
    raw.generation_config.stop_sequences.extend(config.stop_sequences)
    return gl.GenerateContentRequest.wrap(raw)


def count_request(model: str, text: str) -> gl.CountTokensRequest:
    """Return a request with one user turn."""
    raw = gl.CountTokensRequest.pb()(model=model)
    raw.contents.add(role="user").parts.add(text=text)
    return gl.CountTokensRequest.wrap(raw)


def list_operations_request(tuned_model: str) -> operations_pb2.ListOperationsRequest:
    """The operations under a tuned model, the largest page first."""
    return operations_pb2.ListOperationsRequest(name=tuned_model, page_size=PAGE_SIZE)


# -- answers --------------------------------------------------------------------------------------


def model(message: gl.Model) -> Model:
    """Convert a base model."""
    raw = unwrapped(message)
    return Model(
        raw.name,
        raw.display_name,
        raw.description,
        raw.input_token_limit,
        raw.output_token_limit,
        tuple(raw.supported_generation_methods),
    )


def tuned_model(message: gl.TunedModel) -> TunedModel:
    """Convert a tuned model; floats are the decimals that were written."""
    raw = unwrapped(message)
    source = raw.tuned_model_source
    return TunedModel(
        raw.name,
        _STATES.get(raw.state, State.CREATING),  # one that is new to us is none to use it in
        base_model=raw.base_model or source.base_model,
        tuned_model_source=source.tuned_model,
        display_name=raw.display_name,
        description=raw.description,
        **_read(raw, SETTINGS),
        hyperparameters=Hyperparameters(
            **_read(raw.tuning_task.hyperparameters, Hyperparameters.__slots__)
        ),
        create_time=_seconds(raw.create_time),
        update_time=_seconds(raw.update_time),
        snapshots=_snapshots(raw.tuning_task.snapshots),
    )


def operation(raw: operations_pb2.Operation, known: Operation | None = None) -> Operation:
    """Convert a tuning operation; of ``known``, its earlier state, the snapshots are reused."""
    metadata = gl.CreateTunedModelMetadata.pb()()
    raw.metadata.Unpack(metadata)
    snapshots = _further(known.snapshots if known else (), metadata.snapshots)
    error = raw.error.message or f"the service gave no reason (code {raw.error.code})"
    return Operation(
        raw.name,
        metadata.tuned_model or operation_parent(raw.name) or "",
        done=raw.done,
        error=error if raw.HasField("error") else "",
        cancelled=raw.error.code == CANCELLED,
        total_steps=metadata.total_steps,
        completed_steps=metadata.completed_steps or (snapshots[-1].step if snapshots else 0),
        snapshots=snapshots,
    )


def permission(message: gl.Permission) -> Permission:
    """Convert a permission; an unknown role counts as reader."""
    raw = unwrapped(message)
    grant = Grant(
        _ROLES.get(raw.role, Role.READER),
        _GRANTEES.get(raw.grantee_type, GranteeType.USER),
        raw.email_address,
    )
    return Permission(raw.name, grant)


def answer(message: gl.GenerateContentResponse) -> Answer:
    """Convert the first candidate; a refused prompt has no text, but a reason."""
    raw = unwrapped(message)
    usage = raw.usage_metadata
    if raw.candidates:
        first = raw.candidates[0]
        text = "".join(part.text for part in first.content.parts if not part.thought)
        reason = _enum_name(first.FinishReason, first.finish_reason)
    else:
        text, feedback = "", raw.prompt_feedback
        reason = _enum_name(feedback.BlockReason, feedback.block_reason)
    return Answer(text, reason, usage.prompt_token_count, usage.candidates_token_count)


# -- parts ----------------------------------------------------------------------------------------


def unwrapped(message: Any) -> Any:
    """Return the raw protobuf message of one that proto-plus may wrap."""
    return message if isinstance(message, Message) else type(message).pb(message)


def shortest(value: float) -> float:
    """Return the shortest decimal that is the same float32: 0.001 for 0.00100000005."""
    for digits in range(6, 9):
        candidate = float(f"{value:.{digits}g}")
        if struct.pack("f", candidate) == struct.pack("f", value):
            return candidate
    return float(f"{value:.9g}")


def _fill(raw: Any, source: object, fields: tuple[str, ...]) -> None:
    for field in fields:
        value = getattr(source, field)
        if value is not None:
            setattr(raw, field, value)


def _read(raw: Any, fields: tuple[str, ...]) -> dict[str, Any]:
    found = {field: getattr(raw, field) for field in fields if raw.HasField(field)}
    return {
        field: shortest(value) if isinstance(value, float) else value
        for field, value in found.items()
    }


def _numbers(enum: Any, *known: Any) -> dict[int, Any]:
    return {enum.Value(word): word for word in known}


_STATES: dict[int, State] = _numbers(gl.TunedModel.pb().State, State.ACTIVE, State.FAILED)
_ROLES = _numbers(gl.Permission.pb().Role, Role.OWNER, Role.WRITER)
_GRANTEES = _numbers(gl.Permission.pb().GranteeType, GranteeType.GROUP, GranteeType.EVERYONE)


def _snapshots(raw: Any) -> tuple[Snapshot, ...]:
    return tuple(
        Snapshot(each.step, each.epoch, shortest(each.mean_loss), _seconds(each.compute_time))
        for each in raw
    )


def _further(known: tuple[Snapshot, ...], raw: Any) -> tuple[Snapshot, ...]:
    count = len(known)
    if not count or len(raw) < count or raw[count - 1].step != known[-1].step:
        return _snapshots(raw)
    return known + _snapshots(raw[count:])


def _seconds(time: Timestamp) -> float:
    seconds: float = time.seconds + time.nanos / 1e9
    return seconds


def _enum_name(enum: Any, number: int) -> str:
    """Return the name; empty if unspecified, the number if it is newer than this client."""
    if number == 0:
        return ""
    try:
        return str(enum.Name(number))
    except ValueError:
        return str(number)
