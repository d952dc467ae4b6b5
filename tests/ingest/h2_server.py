"""A real HTTP/2 server over TLS on a loopback port, with a certificate of its own for `docs.example`."""

import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import h2.config
import h2.connection
import h2.events
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "docs.example"


class H2Site:
    """Path to body. `protocols` lists what each connection agreed on, `asked` the paths."""

    def __init__(self, pages: dict[str, bytes]) -> None:
        self.pages = pages
        self.protocols: list[str | None] = []
        self.asked: list[str] = []
        self.port = 0


@contextmanager
def serving_h2(pages: dict[str, bytes], certificate: Path) -> Iterator[H2Site]:
    """Serve until the block ends; `certificate` is the file of the server's certificate and key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["h2"])
    site = H2Site(pages)
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        site.port = listener.getsockname()[1]
        stop = threading.Event()

        def accept() -> None:
            while not stop.is_set():
                with suppress(TimeoutError):
                    plain, _ = listener.accept()
                    threads.append(threading.Thread(target=_serve, args=(context, plain, site)))
                    threads[-1].start()

        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield site
        finally:
            stop.set()
            for thread in (acceptor, *threads):
                thread.join()


def _serve(context: ssl.SSLContext, plain: socket.socket, site: H2Site) -> None:
    plain.settimeout(10)
    with suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
        site.protocols.append(connection.selected_alpn_protocol())
        state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        state.initiate_connection()
        connection.sendall(state.data_to_send())
        while data := connection.recv(65_536):
            for event in state.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    _answer(state, event, site)
            connection.sendall(state.data_to_send())


def _answer(state: h2.connection.H2Connection, event: h2.events.RequestReceived, site: H2Site) -> None:
    path = dict(event.headers)[b":path"].decode()
    site.asked.append(path)
    body = site.pages.get(path)
    status = "404" if body is None else "200"
    state.send_headers(event.stream_id, [(":status", status), ("content-type", "text/html")])
    state.send_data(event.stream_id, body or b"", end_stream=True)


def write_certificate(path: Path) -> None:
    """A self-signed certificate with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
