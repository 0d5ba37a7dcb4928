"""The three clients of google-ai-generativelanguage over one transport, and what each of them raises."""

from __future__ import annotations

import inspect

from google.ai import generativelanguage_v1beta as gl
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from steps import settled, where

WHERE = where()
IS_ASYNC = WHERE.transport == "grpc_asyncio"
NAME = f"tunedModels/{WHERE.prefix}-one"
# An AsyncOperation keeps no code: it raises the class that all of them have in common.
CANCELLED = exceptions.GoogleAPICallError if IS_ASYNC else exceptions.Cancelled


class Recorded:
    """A client that remembers which of its methods were called; all answers can be awaited."""

    def __init__(self, client):
        self.client, self.called = client, set()

    def __getattr__(self, name):
        self.called.add(name)
        return lambda *args, **kwargs: settled(getattr(self.client, name)(*args, **kwargs))

    def untouched(self):
        methods = {
            name
            for name, member in inspect.getmembers(type(self.client), inspect.isfunction)
            if "metadata" in inspect.signature(member).parameters
        }
        return methods - self.called


class Clients:
    def __init__(self, key):
        options = ClientOptions(api_endpoint=WHERE.endpoint, api_key=key)
        kinds = [
            getattr(gl, f"{name}Service{'Async' if IS_ASYNC else ''}Client")
            for name in ("Model", "Permission", "Generative")
        ]
        made = [kind(client_options=options, transport=WHERE.transport) for kind in kinds]
        self.models, self.permissions, self.generative = map(Recorded, made)
        self.all = (self.models, self.permissions, self.generative)


def content(text, role="user"):
    return gl.Content(role=role, parts=[gl.Part(text=text)])
