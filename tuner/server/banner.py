"""What a service says when it is ready: what it offers, where, and how to reach it."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

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


def text(settings: Settings, folder: Path, at: Addresses, keys: int, waiting: int) -> str:
    """The lines to print; ``keys`` were ever made, ``waiting`` tunings go on."""
    models = [_model(model) for model in settings.base_models.values()]
    who = (
        "those with an API key (`tuner keys list`)"
        if keys
        else "everybody on this machine, as owner@localhost; `tuner keys create EMAIL` ends that"
    )
    doors = f"over gRPC on {at.grpc}" + (f" and REST on http://{at.rest}" if at.rest else "")
    return "\n".join(
        [
            f"tuner {version('tuner')}: google.ai.generativelanguage.v1beta {doors}, without TLS",
            f"  models   {', '.join(models) or 'none'}",
            f"  callers  {who}",
            f"  state    {folder}",
            f"  queue    {waiting} tuning{'' if waiting == 1 else 's'} to go on with",
            "  connect",
            *(f"    {client:<29} {line}" for client, line in _lines(at)),
            f"  stop     Ctrl-C, or tuner serve --stop --home {folder.parent}",
            "",
        ]
    )


def _lines(at: Addresses) -> list[tuple[str, str]]:
    """For each client what to write to reach us; over gRPC google-generativeai speaks TLS only."""
    channel = f'grpc.aio.insecure_channel("{at.grpc}")'
    lines = [
        ("tuner", f"target: {{kind: local, endpoint: {at.grpc}}}"),
        ("google-ai-generativelanguage", f"ModelServiceGrpcAsyncIOTransport(channel={channel})"),
    ]
    if at.rest is None:
        needs = "needs a REST door: start with --rest HOST:PORT"
        return [*lines, ("google-generativeai", needs), ("google-genai", needs)]
    url, key = f"http://{at.rest}", 'api_key="KEY"'
    options = f'client_options={{"api_endpoint": "{url}"}}'
    return [
        *lines,
        ("google-generativeai", f'genai.configure({key}, transport="rest", {options})'),
        ("google-genai", f'genai.Client({key}, http_options={{"base_url": "{url}"}})'),
        ("curl", f"curl -H 'x-goog-api-key: KEY' {url}/v1beta/models"),
    ]


def _model(model: BaseModel) -> str:
    abilities = [word for method, word in _ABILITIES.items() if method in model.methods]
    return f"{model.name.removeprefix('models/')} ({', '.join(abilities)})"
