"""A process that keeps the local service's promises about files and locks, and tunes nothing.

    python -m tests.fakes.stand_in_service HOME [start|leave|die]

``start`` serves until it is killed, ``leave`` holds the lock for a moment with an address where
nobody listens, as an idle service on its way out does, and ``die`` says why and ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from google.ai import generativelanguage_v1beta as gl

LEAVING_S = 0.3


def main(home: Path, manner: str) -> None:
    folder = home / "service"
    with (home / "started.txt").open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    if manner == "die":
        sys.exit("error: the database is damaged\n  fix: restore it")
    with (folder / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if manner == "leave":
            publish(folder, 1)
            time.sleep(LEAVING_S)
            (folder / "address.json").unlink()
            return
        server = grpc.server(ThreadPoolExecutor(1))
        handler = grpc.unary_unary_rpc_method_handler(lambda _, __: offered())
        name = "google.ai.generativelanguage.v1beta.ModelService"
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(name, {"ListModels": handler}),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        publish(folder, port)
        server.wait_for_termination()


def publish(folder: Path, port: int) -> None:
    aside = folder / "address.aside"
    aside.write_text(json.dumps({"grpc": f"127.0.0.1:{port}", "pid": os.getpid()}))
    aside.replace(folder / "address.json")


def offered() -> bytes:
    model = gl.Model(name=f"models/of-{os.getpid()}")
    return gl.ListModelsResponse.serialize(gl.ListModelsResponse(models=[model]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
