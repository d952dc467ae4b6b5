"""Runs the HTTP server: takes the port, starts to answer, loads, and stops without cutting answers off.

The port is taken before anything is loaded, so a port in use is told in a second and not after a minute.
"""

import errno
import logging
import socket
from collections.abc import Callable
from contextlib import closing

import uvicorn
from fastapi import FastAPI

from configs.errors import ServeError
from configs.schema import Config
from serve.api import Loading, create_app
from serve.runtime import Runtime, load_runtime

logger = logging.getLogger(__name__)

# Seconds that answers under way may take to end once the server is told to stop.
GRACE_S = 10

Mount = Callable[[FastAPI, str], None]
Ready = Callable[[str], None]


def run_server(config: Config, extra_mounts: Mount | None = None, on_ready: Ready | None = None) -> None:
    """Serve the configured model until the process is told to stop.

    Args:
        extra_mounts: adds pages to the app; is given the app and the server's own address.
        on_ready: called with the address once questions can be answered.

    Raises:
        ServeError: the address cannot be listened on.
        WellreadError: something could not be loaded.
        KeyboardInterrupt: Ctrl-C, after answers under way have ended.
    """
    serve_app(
        lambda: load_runtime(config, lambda what: logger.info("loading %s", what)),
        host=config.serve.host,
        port=config.serve.port,
        max_body_bytes=config.serve.max_request_kb * 1024,
        extra_mounts=extra_mounts,
        on_ready=on_ready,
    )


def serve_app(
    load: Callable[[], Runtime],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    max_body_bytes: int = 256 * 1024,
    extra_mounts: Mount | None = None,
    on_ready: Ready | None = None,
) -> None:
    """`run_server` for plain values and any runtime."""
    with closing(listen(host, port)) as listener:
        url = address_of(listener)
        failures: list[BaseException] = []

        def loaded(loading: Loading) -> None:
            if loading.failure:
                failures.append(loading.failure)
                server.should_exit = True
            elif on_ready:
                on_ready(url)

        app = create_app(load, max_body_bytes=max_body_bytes, on_loaded=loaded)
        if extra_mounts:
            extra_mounts(app, url)
        server = uvicorn.Server(
            uvicorn.Config(
                app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=GRACE_S
            )
        )
        server.run(sockets=[listener])
    if failures:
        raise failures[0]


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Args:
        port: 0 takes a free one.

    Raises:
        ServeError: the port is in use or reserved, or the host is not an address of this machine.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        listener = socket.socket(family, kind)
    except OSError as error:
        raise _cannot_listen(host, port, error) from None
    try:
        # Without it a restart fails for a minute, while the system remembers the old connections.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        raise _cannot_listen(host, port, error) from None
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL at which this machine reaches the socket."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _cannot_listen(host: str, port: int, error: OSError) -> ServeError:
    if error.errno == errno.EADDRINUSE:
        return ServeError(
            f"port {port} on {host} is in use", "Stop what uses it, or let a free one be picked: --set serve.port=0"
        )
    if error.errno == errno.EACCES:
        return ServeError(f"port {port} is reserved to the system", "Choose one above 1023: --set serve.port=8000")
    return ServeError(f"cannot listen on {host}: {error.strerror}", "Set serve.host to an address of this machine")
