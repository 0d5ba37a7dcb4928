"""Parse, build and check resource names and IDs of google.ai.generativelanguage.

The rules are those of ``CreateTunedModelRequest.tuned_model_id`` in the public v1beta protos.
"""

from __future__ import annotations

import re
import unicodedata

MAX_ID_LENGTH = 40
DIGEST_LENGTH = 10

_ID = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
# The lengths are far beyond any real ID; they bound what a service stores.
_TUNED_MODEL = re.compile(r"tunedModels/([a-z0-9-]{1,255})")
_OPERATION = re.compile(rf"({_TUNED_MODEL.pattern})/operations/([A-Za-z0-9_-]{{1,255}})")
_PERMISSION = re.compile(rf"({_TUNED_MODEL.pattern})/permissions/([a-z0-9]{{1,255}})")


def is_tuned_model_id(text: str) -> bool:
    """Return whether ``text`` is a valid tuned model ID: 1 to 40 of ``[a-z0-9-]``, a letter first, no hyphen last."""
    return _ID.fullmatch(text) is not None


def slug(text: str, length: int = MAX_ID_LENGTH) -> str:
    """Convert text to the start of an ID: lower-case ASCII, with other characters replaced by hyphens."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    cleaned = re.sub(r"[^a-z0-9]+", "-", ascii_text).strip("-")
    cleaned = cleaned if cleaned[:1].isalpha() else f"m-{cleaned}".rstrip("-")
    return cleaned[:length].rstrip("-")


def content_id(name: str, digest: str) -> str:
    """Return ``{slug}-{10 hex digits}``; equal content gives an equal ID, the only idempotency key there is."""
    suffix = digest[:DIGEST_LENGTH]
    return f"{slug(name, MAX_ID_LENGTH - len(suffix) - 1)}-{suffix}"


def tuned_model(id_or_name: str) -> str:
    """Return the full name of a tuned model from its name or ID."""
    return id_or_name if id_or_name.startswith("tunedModels/") else f"tunedModels/{id_or_name}"


def model(id_or_name: str) -> str:
    """Return the full name of a model; a bare ID is a tuned model's."""
    return id_or_name if "/" in id_or_name else tuned_model(id_or_name)


def is_tuned_model(name: str) -> bool:
    """Return whether ``name`` has the form ``tunedModels/ID``."""
    return _TUNED_MODEL.fullmatch(name) is not None


def operation_parent(name: str) -> str | None:
    """Return the tuned model of ``tunedModels/ID/operations/ID``, or None."""
    found = _OPERATION.fullmatch(name)
    return found and found[1]


def permission_parent(name: str) -> str | None:
    """Return the tuned model of ``tunedModels/ID/permissions/ID``, or None."""
    found = _PERMISSION.fullmatch(name)
    return found and found[1]
