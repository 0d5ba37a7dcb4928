"""A journey of one client over one transport: a script in an environment that holds nothing but that client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tests.sdk import environments

SCRIPTS = Path(__file__).parent / "journeys"
RESULTS = environments.ROOT / "results"
TIMEOUT_S = 280


@dataclass(frozen=True)
class Journey:
    """``client`` and ``over`` are for people, ``transport`` is how the client itself calls it."""

    client: str
    over: str
    script: str
    environment: str
    transport: str
    door: Literal["grpcs", "http", "https"]

    def __str__(self) -> str:
        return f"{self.client}-{self.over}".replace(" ", "-").replace(",", "")


@dataclass(frozen=True)
class Place:
    """Where a service is, a key of ana@example.com and one of lead@example.com, and who vouches for it.

    ``authority`` is a certificate; None where the service speaks without TLS.
    """

    endpoint: str
    key: str
    lead_key: str
    authority: Path | None


@dataclass(frozen=True)
class Step:
    """``ok`` is None where the client has no such thing; then, or with a note, ``detail`` is for the documents."""

    group: str
    step: str
    ok: bool | None
    detail: str


def _client(
    package: str, environment: str, script: str, *ways: tuple[str, str, str]
) -> list[Journey]:
    name = f"{package} {environments.version(environment, package)}"
    return [Journey(name, over, script, environment, way, door) for over, way, door in ways]


JOURNEYS = (
    *_client(
        "google-ai-generativelanguage",
        "gapic",
        "gapic.py",
        ("gRPC, TLS, asyncio", "grpc_asyncio", "grpcs"),
        ("gRPC, TLS", "grpc", "grpcs"),
        ("REST, http", "rest", "http"),
    ),
    *_client(
        "google-generativeai",
        "legacy",
        "legacy.py",
        ("gRPC, TLS", "grpc", "grpcs"),
        ("REST, http", "rest", "http"),
        ("REST, https", "rest", "https"),
    ),
    *_client(
        "google-genai",
        "genai",
        "genai.py",
        ("REST, http", "", "http"),
        ("REST, https, asyncio", "aio", "https"),
    ),
    *_client(
        "google-genai",
        "genai-1.46",
        "genai.py",
        ("REST, http", "", "http"),
        ("REST, https, asyncio", "aio", "https"),
    ),
    Journey("curl", "REST, https", "curl.py", "", "", "https"),
)
TRUST = (
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
)


def run(journey: Journey, place: Place) -> list[Step]:
    """Make the journey, keep what came of each step for the table, and give it back."""
    where = {
        "transport": journey.transport,
        "prefix": f"j{JOURNEYS.index(journey)}",  # ids that no other journey uses
        "endpoint": place.endpoint,
        "key": place.key,
        "lead_key": place.lead_key,
    }
    python = environments.python(journey.environment) if journey.environment else sys.executable
    command = [str(python), "-P", "-W", "ignore", SCRIPTS / journey.script, json.dumps(where)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        env=_environment(place.authority),
    )
    steps = [Step(**json.loads(line)) for line in done.stdout.splitlines()]
    if done.returncode:
        steps.append(Step("errors", "the journey's end", False, done.stderr[-2000:]))
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps([asdict(step) for step in steps], indent=1)
    (RESULTS / f"{journey}.json").write_text(text)
    return steps


def _environment(authority: Path | None) -> dict[str, str]:
    """What a user would set: where the authority's certificate is, and nothing of ours."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GOOGLE_", "GEMINI_", "PYTHON", "TUNER_"))
    }
    told = dict.fromkeys(TRUST, str(authority)) if authority else {}
    return kept | told | {"PYTHONPATH": str(SCRIPTS)}
