"""The keys that say where something runs."""

from typing import Annotated

from tuner.jobspec.schema import Key
from tuner.targets import TARGETS
from tuner.types import TargetConfig

LOCAL = TargetConfig()


class TargetKeys:
    """``target``, when it is more than a word."""

    kind: Annotated[str, Key("Which service.", options=tuple(TARGETS))] = "local"
    endpoint: Annotated[
        str,
        Key("`host:port` in place of the kind's own; `https://` before it: TLS on loopback too."),
    ] = ""
    credentials_file: Annotated[
        str, Key("A service account or authorized-user JSON file, relative to this spec.")
    ] = ""
    api_key_env: Annotated[
        str,
        Key("The environment variable that holds the API key; the key itself never stands here."),
    ] = ""
    quota_project: Annotated[str, Key("The Google Cloud project that calls are billed to.")] = ""
    impersonate: Annotated[str, Key("The e-mail address of a service account to act as.")] = ""
    max_jobs: Annotated[
        int | None, Key("Tunings of this run that may wait or run there at a time.", ge=1)
    ] = None
    requests_per_second: Annotated[
        float | None, Key("Calls a second that this run makes there at most.", gt=0)
    ] = None
