"""The stand-in by hand: `python -m tests.modal_server`, then paste what it prints into another shell."""

from __future__ import annotations

import argparse
import threading

from tests.modal_server.faults import parse_fault
from tests.modal_server.server import ModalServer
from tests.modal_server.world import World


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.modal_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument(
        "--secret", action="append", default=[], metavar="NAME:KEY=VALUE", help="a secret that exists at the provider"
    )
    parser.add_argument(
        "--fault", action="append", default=[], metavar="RPC=WHAT", help="UNAVAILABLE, delay:2, hang, drop; @3: after 3"
    )
    parser.add_argument(
        "--env", action="append", default=[], metavar="KEY=VALUE", help="for containers, such as HF_ENDPOINT"
    )
    asked = parser.parse_args()
    world = World(faults=[parse_fault(text) for text in asked.fault])
    world.container_env = dict(pair.split("=", 1) for pair in asked.env)
    for text in asked.secret:
        name, pair = text.split(":", 1)
        key, value = pair.split("=", 1)
        world.secrets.setdefault(name, {})[key] = value
    with ModalServer(world, asked.port) as server:
        for key, value in server.client_env().items():
            print(f"export {key}={value}")
        print("# Ctrl-C ends the server and everything that runs on it", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
