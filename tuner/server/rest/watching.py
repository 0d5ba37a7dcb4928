"""What those who watch a service ask by a plain GET: is it well, and what has it done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.server import metrics
from tuner.server.store import operations
from tuner.server.store.database import StoreFailed

if TYPE_CHECKING:
    from tuner.server.service import Service

TEXT = "text/plain; charset=utf-8"
OK, UNAVAILABLE = 200, 503


async def healthz(service: Service) -> tuple[int, str, bytes]:
    """``/healthz``: 200, or 503 with the reason; an HTTP status, a content type, a body."""
    problem = await service.problem()
    status = UNAVAILABLE if problem else OK
    return status, TEXT, f"{problem or 'ok'}\n".encode()


async def metrics_page(service: Service) -> tuple[int, str, bytes]:
    """``/metrics``, as Prometheus reads it; without the tunings while the database fails."""
    try:
        counts = await service.store.read(operations.counts, service.now_ms)
    except StoreFailed:
        counts = {}
    return OK, metrics.CONTENT_TYPE, metrics.page(service.activity.in_flight, counts)
