"""What a service says when it is ready: what it offers, where, and how to reach it."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from tuner.server.access.exposure import exposed

if TYPE_CHECKING:
    from pathlib import Path

    from tuner.engine import BaseModel
    from tuner.server.lifecycle import Addresses
    from tuner.server.settings import Settings

_ABILITIES = {
    "createTunedModel": "tunes",
    "generateContent": "writes",
    "embedContent": "embeds",
}


def text(  # noqa: PLR0913, PLR0917  (all that is to be told)
    settings: Settings, folder: Path, at: Addresses, keys: int, waiting: int, database: str = ""
) -> str:
    """The lines to print; ``keys`` were ever made, ``waiting`` tunings go on, ``database`` has a name."""
    models = [_model(model) for model in settings.base_models.values()]
    who = (
        "those with an API key (`tuner keys list`)"
        if keys
        else "everybody on this machine, as owner@localhost; `tuner keys create EMAIL` ends that"
    )
    doors = f"over gRPC on {at.grpc}" + (f" and REST on {_url(at)}" if at.rest else "")
    return "\n".join(
        [
            f"tuner {version('tuner')}: google.ai.generativelanguage.v1beta {doors}, {_tls(settings)}",
            f"  models   {', '.join(models) or 'none'}",
            f"  callers  {who}",
            *(f"  open     to other machines: {door}" for door in exposed(settings)),
            f"  state    {folder}" + (f" and {database}" if database else ""),
            f"  queue    {waiting} tuning{'' if waiting == 1 else 's'} to go on with",
            *_connect(at),
            f"  stop     Ctrl-C, or tuner serve --stop --home {folder.parent}",
            "",
        ]
    )


def _connect(at: Addresses) -> list[str]:
    """For each client what to write to reach us, and how it learns of an authority of our own."""
    trust = [f"  trust    export CA={at.ca}"] if at.ca else []
    entries = [*_grpc_lines(at), *_rest_lines(at)]
    shown = [f"    {client}\n      {line}" for client, line in entries]
    return [*trust, "  connect", *shown]


def _grpc_lines(at: Addresses) -> list[tuple[str, str]]:
    """Over gRPC google-generativeai speaks TLS only."""
    if not at.tls:
        channel = f'grpc.aio.insecure_channel("{at.grpc}")'
        raw = f"ModelServiceGrpcAsyncIOTransport(channel={channel})"
        tuner = f"target: {{kind: local, endpoint: {at.grpc}}}"
        return [("tuner", tuner), ("google-ai-generativelanguage", raw)]
    trust = _trusting("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", at)
    endpoint, key = f'"api_endpoint": "{at.grpc}"', '"api_key": "KEY"'
    raw = f"ModelServiceAsyncClient(client_options={{{endpoint}, {key}}})"
    legacy = f'genai.configure(api_key="KEY", client_options={{{endpoint}}})'
    return [
        ("tuner", f"{trust}target: {{kind: local, endpoint: https://{at.grpc}}}"),
        ("google-ai-generativelanguage", f"{trust}{raw}"),
        ("google-generativeai", f"{trust}{legacy}"),
    ]


def _rest_lines(at: Addresses) -> list[tuple[str, str]]:
    if at.rest is None:
        needs = "needs a REST door: start with --rest HOST:PORT"
        return [("google-generativeai, REST", needs), ("google-genai", needs)]
    url = _url(at)
    curl = f"curl {'--cacert $CA ' if at.ca else ''}-H 'x-goog-api-key: KEY'"
    options = f'client_options={{"api_endpoint": "{url}"}}'
    legacy = f'genai.configure(api_key="KEY", transport="rest", {options})'
    genai = f'genai.Client(api_key="KEY", http_options={{"base_url": "{url}"}})'
    return [
        ("google-generativeai, REST", _trusting("REQUESTS_CA_BUNDLE", at) + legacy),
        ("google-genai", _trusting("SSL_CERT_FILE", at) + genai),
        ("curl", f"{curl} {url}/v1beta/models"),
    ]


def _trusting(variable: str, at: Addresses) -> str:
    """A line of shell before the client's own: each wants our authority by another name."""
    return f"export {variable}=$CA\n      " if at.ca else ""


def _url(at: Addresses) -> str:
    return f"{'https' if at.tls else 'http'}://{at.rest}"


def _tls(settings: Settings) -> str:
    if settings.tls is None:
        return "without TLS"
    return "with TLS" + (", for client certificates only" if settings.tls.client_ca else "")


def _model(model: BaseModel) -> str:
    abilities = [word for method, word in _ABILITIES.items() if method in model.methods]
    return f"{model.name.removeprefix('models/')} ({', '.join(abilities)})"
