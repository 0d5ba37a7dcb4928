"""The raw protobuf classes of google.ai.generativelanguage.v1beta.

proto-plus wraps each of them in a class that is about five times slower to fill, and that silently
keeps only the last field of a oneof.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from google.ai.generativelanguage_v1beta import types
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

Message: TypeAlias = Any

PACKAGE = "google.ai.generativelanguage.v1beta"
Empty = empty_pb2.Empty
Operation = operations_pb2.Operation


def raw(name: str) -> Any:
    """Return the protobuf class of a v1beta message by its name."""
    return getattr(types, name).pb()


BatchEmbedContentsResponse = raw("BatchEmbedContentsResponse")
Candidate = raw("Candidate")
Content = raw("Content")
ContentEmbedding = raw("ContentEmbedding")
CountTokensResponse = raw("CountTokensResponse")
CreateTunedModelMetadata = raw("CreateTunedModelMetadata")
EmbedContentResponse = raw("EmbedContentResponse")
GenerateAnswerResponse = raw("GenerateAnswerResponse")
GenerateContentResponse = raw("GenerateContentResponse")
ListModelsResponse = raw("ListModelsResponse")
ListPermissionsResponse = raw("ListPermissionsResponse")
ListTunedModelsResponse = raw("ListTunedModelsResponse")
Model = raw("Model")
Permission = raw("Permission")
TransferOwnershipResponse = raw("TransferOwnershipResponse")
TunedModel = raw("TunedModel")
TuningSnapshot = raw("TuningSnapshot")
