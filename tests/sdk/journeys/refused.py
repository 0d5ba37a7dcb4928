"""Which of google-api-core's exceptions a client raises for a refusal, by the way it came."""

from __future__ import annotations

from google.api_core import exceptions
from steps import where

IS_REST = where().transport == "rest"
# Over REST google-api-core tells an exception by the HTTP status alone.
EXISTS = exceptions.Conflict if IS_REST else exceptions.AlreadyExists
INVALID = exceptions.BadRequest if IS_REST else exceptions.InvalidArgument
TOO_EARLY = exceptions.BadRequest if IS_REST else exceptions.FailedPrecondition
NOBODY = exceptions.Unauthorized if IS_REST else exceptions.Unauthenticated
TOO_MANY = exceptions.TooManyRequests if IS_REST else exceptions.ResourceExhausted
HIDDEN = exceptions.Forbidden if IS_REST else exceptions.PermissionDenied
