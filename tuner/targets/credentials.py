"""Who we are to a service: an API key, Google credentials, or nobody at all."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tuner.errors import InvalidInput, NotAllowed, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.types import TargetConfig

SCOPES = (
    "https://www.googleapis.com/auth/cloud-platform",
    "https://www.googleapis.com/auth/generative-language.tuning",
)
LOGIN = "gcloud auth application-default login --client-id-file=CLIENT.json --scopes=" + ",".join(
    SCOPES
)
GOOGLE_KEYS = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
LOCAL_KEYS = ("TUNER_API_KEY",)


@dataclass(frozen=True, slots=True)
class Identity:
    """What proves who we are.

    Attributes:
        kind: ``key``: an API key; ``google``: OAuth tokens; ``nobody``: the service may let us in.
        api_key: Sent with every call as ``x-goog-api-key``.
        credentials: Of google-auth, for tokens that renew themselves.
        source: Where it was found, for messages; never the secret itself.
    """

    kind: Literal["key", "google", "nobody"]
    source: str = ""
    api_key: str = ""
    credentials: Any = None

    def __repr__(self) -> str:
        """Never the key: a repr ends up in logs."""
        return f"Identity({self.kind!r}, {self.source!r})"


NOBODY = Identity("nobody")


def find_identity(config: TargetConfig) -> Identity:
    """Credentials for Google, in the order a person would expect; may ask the network.

    A credentials file, then the API key variable the spec names. Without either: impersonation,
    a quota project or GOOGLE_APPLICATION_CREDENTIALS call for Google credentials; then the usual
    API key variables; then Application Default Credentials wherever they are.

    Raises:
        InvalidInput: Two of them exclude each other, or the file cannot be read.
        NotAllowed: There are none.
    """
    if config.credentials_file and config.api_key_env:
        raise InvalidInput([_exclusive("credentials_file", "api_key_env")])
    if config.api_key_env and config.impersonate:
        raise InvalidInput([_exclusive("api_key_env", "impersonate")])
    if config.api_key_env:
        return named_key(config.api_key_env)
    key = None if _wants_google(config) else find_key(GOOGLE_KEYS)
    return key or _google_identity(config)


def find_key(variables: Sequence[str]) -> Identity | None:
    """The API key in the first of these environment variables that holds one."""
    for variable in variables:
        key = os.environ.get(variable, "").strip()
        if key:
            return Identity("key", variable, key)
    return None


def named_key(variable: str) -> Identity:
    """The API key in the environment variable a spec names. Raises NotAllowed when it is empty."""
    found = find_key([variable])
    if found is None:
        raise NotAllowed(
            f"the environment variable {variable} (api_key_env) holds no API key",
            f"export {variable}=... in this shell, or take api_key_env out of the target",
        )
    return found


def _wants_google(config: TargetConfig) -> bool:
    named = config.credentials_file or config.impersonate or config.quota_project
    return bool(named or os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"))


def _google_identity(config: TargetConfig) -> Identity:
    from google.auth.exceptions import GoogleAuthError

    try:
        credentials, source = _load(config)
    except (GoogleAuthError, OSError, ValueError) as error:
        raise _not_found(config, error) from error
    if config.impersonate:
        credentials, source = _impersonate(credentials, config), f"{source} as {config.impersonate}"
    return Identity("google", source, credentials=credentials)


def _load(config: TargetConfig) -> tuple[Any, str]:
    """Read a file or look everywhere; a person's own scopes are fixed at their login."""
    import google.auth

    quota = config.quota_project or None
    with warnings.catch_warnings():
        # google-auth warns about quota projects and generic files; our errors say it when it matters
        warnings.simplefilter("ignore")
        if config.credentials_file:
            credentials, _ = google.auth.load_credentials_from_file(
                os.path.expanduser(config.credentials_file),  # noqa: PTH111 - google-auth wants str
                default_scopes=SCOPES,
                quota_project_id=quota,
            )
            return credentials, config.credentials_file
        credentials, _ = google.auth.default(default_scopes=SCOPES, quota_project_id=quota)
    return credentials, "Application Default Credentials"


def _impersonate(source: Any, config: TargetConfig) -> Any:
    from google.auth import impersonated_credentials

    return impersonated_credentials.Credentials(
        source_credentials=source,
        target_principal=config.impersonate,
        target_scopes=list(SCOPES),
        quota_project_id=config.quota_project or None,
    )


def _not_found(config: TargetConfig, error: Exception) -> Exception:
    reason = str(error.args[0] if error.args else error).rstrip(".")
    if config.credentials_file:
        return InvalidInput(
            [
                Problem(
                    config.credentials_file,
                    0,
                    0,
                    f"is no usable credentials file: {reason}",
                    "give a service account key or the JSON file that gcloud's login wrote",
                    rule="credentials-file",
                )
            ]
        )
    return NotAllowed(
        f"no credentials for Google were found: {reason}",
        f"export GEMINI_API_KEY=..., or set credentials_file, or run `{LOGIN}`; "
        "or use `target: local`, which needs none",
    )


def _exclusive(one: str, other: str) -> Problem:
    return Problem(
        "", 0, 0, f"{one} and {other} exclude each other", "keep one of them", rule="exclusive"
    )
