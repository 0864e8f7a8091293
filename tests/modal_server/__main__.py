"""The stand-in by hand: `python -m tests.modal_server`, then paste what it prints into another shell.

Every model can be fetched (two small files), every secret is there (unless --secret names those that are), and what
is deployed runs here with an engine that has no model.
"""

from __future__ import annotations

import argparse
import signal
import threading

from tests.modal_server.faults import parse_fault
from tests.modal_server.hub import serve_any_hub
from tests.modal_server.server import ModalServer
from tests.modal_server.world import World

API_KEY = "sk-loopback"
ANY_SECRET = {"HF_TOKEN": "hf_loopback", "VLLM_API_KEY": API_KEY, "WANDB_API_KEY": "loopback"}


def main() -> None:
    asked = arguments()
    world = World(faults=[parse_fault(text) for text in asked.fault])
    world.container_env = {"HF_ENDPOINT": serve_any_hub(), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    world.container_env |= dict(pair.split("=", 1) for pair in asked.env)
    for text in asked.secret:
        name, pair = text.split(":", 1)
        key, value = pair.split("=", 1)
        world.secrets.setdefault(name, {})[key] = value
    world.any_secret = {} if asked.secret else dict(ANY_SECRET)
    with ModalServer(world, asked.port) as server:
        for key, value in {**server.client_env(), "VLLM_API_KEY": API_KEY}.items():
            print(f"export {key}={value}")
        print("# Ctrl-C ends the server and everything that runs on it", flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a script otherwise
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.modal_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="NAME:KEY=VALUE",
        help="a secret that exists; then no other does",
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="RPC=WHAT",
        help="UNAVAILABLE, delay:2, hang, drop, lost; @3: after 3",
    )
    parser.add_argument("--env", action="append", default=[], metavar="KEY=VALUE", help="for containers")
    return parser.parse_args()


if __name__ == "__main__":
    main()
