"""The socket under the REST door."""

from __future__ import annotations

import socket

import pytest

from tuner.server import http_server


@pytest.mark.slow
def test_a_body_does_not_wait_for_the_acknowledgement_of_its_headers():
    with http_server.bind("127.0.0.1:0") as listener, socket.socket() as caller:
        caller.connect(listener.getsockname())
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
