"""Where a Reddit is found: two addresses in threads of the test's own process, which outlive it if they are to."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme
import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from fake_reddit.door import Protocol


class Ports:
    """`with Ports() as ports: …`; one Reddit after the other may be there, as to start and end them takes 0.2 s."""

    def __init__(self, port: int = 0, tls_port: int = 0) -> None:
        self.url = self.tls_url = ""
        self.app: ASGIApp = Response(status_code=503)
        """Who answers from now on. What came in before is brought to its end by who answered then."""
        self._authority = trustme.CA()
        self._port, self._tls_port = port, tls_port
        self._servers: list[uvicorn.Server] = []
        self._running = ExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)

    def certificate(self, path: Path) -> str:
        """Write the authority's certificate to a file; whoever uploads must trust it."""
        self._authority.cert_pem.write_to_path(str(path))
        return str(path)

    def __enter__(self) -> Self:
        self.url = self._serve(self._port)
        with self._authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.tempfile() as chain:
            self.tls_url = self._serve(self._tls_port, chain)
        return self

    def _serve(self, port: int, chain: str | None = None) -> str:
        """In a thread; with TLS where there is a file with a key and a chain of certificates."""
        listener = self._running.enter_context(socket.create_server(("127.0.0.1", port)))
        # asyncio sets it for sockets that say they are TCP, which these do not: each answer would take 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        config = uvicorn.Config(
            self,
            http=Protocol,
            loop="asyncio",
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=1,
            ssl_certfile=chain,
        )
        config.load()
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        self._running.callback(thread.join)
        self._servers.append(server)
        return "{}://{}:{}".format("https" if chain else "http", *listener.getsockname())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.should_exit = True
        self._running.close()
