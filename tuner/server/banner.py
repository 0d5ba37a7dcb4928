"""What a service says when it is ready: what it offers, where, and how to reach it."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tuner.engine import BaseModel
    from tuner.server.settings import Settings

_ABILITIES = {
    "createTunedModel": "tunes",
    "generateContent": "writes",
    "embedContent": "embeds",
}


def text(settings: Settings, folder: Path, address: str, keys: int, waiting: int) -> str:
    """The lines to print; ``keys`` were ever made, ``waiting`` tunings go on."""
    models = [_model(model) for model in settings.base_models.values()]
    who = (
        "those with an API key (`tuner keys list`)"
        if keys
        else "everybody on this machine, as owner@localhost; `tuner keys create EMAIL` ends that"
    )
    channel = f'grpc.aio.insecure_channel("{address}")'
    return "\n".join(
        [
            f"tuner {version('tuner')}: google.ai.generativelanguage.v1beta over gRPC on {address}, without TLS",
            f"  models   {', '.join(models) or 'none'}",
            f"  callers  {who}",
            f"  state    {folder}",
            f"  queue    {waiting} tuning{'' if waiting == 1 else 's'} to go on with",
            "  connect",
            f"    tuner                         target: {{kind: local, endpoint: {address}}}",
            f"    google-ai-generativelanguage  ModelServiceGrpcAsyncIOTransport(channel={channel})",
            "    google-generativeai           speaks TLS over gRPC: it cannot connect to this port",
            "    google-genai                  speaks REST: it cannot connect to this port",
            f"  stop     Ctrl-C, or tuner serve --stop --home {folder.parent}",
            "",
        ]
    )


def _model(model: BaseModel) -> str:
    abilities = [word for method, word in _ABILITIES.items() if method in model.methods]
    return f"{model.name.removeprefix('models/')} ({', '.join(abilities)})"
