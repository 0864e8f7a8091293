"""Inside a container: run one function, or keep one server, of the app.py that was uploaded."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path


def main(name: str, port: int) -> None:
    sys.path.insert(0, os.getcwd())
    import app

    app.WEIGHTS = Path(os.environ["WEIGHTS"])
    app.PORT = port
    target = getattr(app, name)
    if isinstance(target, type):
        keep(target())
    else:
        Path("result.json").write_text(json.dumps(target()))


def keep(server: object) -> None:
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # while it starts
    methods = [getattr(server, name) for name in dir(server) if not name.startswith("_")]
    for method in methods:
        if getattr(method, "enters", False):
            method()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    sys.stdout.write("@ready\n")
    sys.stdout.flush()
    stopped.wait()
    for method in methods:
        if getattr(method, "exits", False):
            method()


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]))
    except Exception as error:
        Path("error.txt").write_text(f"{type(error).__name__}: {error}")
        traceback.print_exc()
        sys.exit(1)
