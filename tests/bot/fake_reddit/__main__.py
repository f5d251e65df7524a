"""Run it alone, from this repository's root: `PYTHONPATH=tests/bot python -m fake_reddit --port 8099`."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from fake_reddit.ports import Ports
from fake_reddit.server import BOT, CLIENT_ID, CLIENT_SECRET, PASSWORD, REFRESH_TOKEN, Server


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fake_reddit", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="of HTTP; 0 takes a free one")
    parser.add_argument("--tls-port", type=int, default=0, help="of uploads; 0 takes a free one")
    parser.add_argument(
        "--certificate", type=Path, help="write here the certificate that uploaders must trust"
    )
    parser.add_argument("--bot", default=BOT, help="the bot's user name")
    chosen = parser.parse_args()
    stops = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    with Ports(chosen.port, chosen.tls_port) as ports, Server(at=ports, bot=chosen.bot) as server:
        if chosen.certificate:
            ports.certificate(chosen.certificate)
        print(
            f"app: {CLIENT_ID} / {CLIENT_SECRET}; bot: {chosen.bot} / {PASSWORD}, refresh token: {REFRESH_TOKEN}"
        )
        print(f"uploads: {ports.tls_url}")
        print(f"ready: {server.url}", flush=True)
        signal.sigwait(stops)


main()
