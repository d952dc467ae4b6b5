"""A real PostgreSQL server with pgvector, in a folder of its own."""

import atexit
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql


class Server:
    """A PostgreSQL server, which listens on a socket in a folder."""

    def __init__(self, folder: Path) -> None:
        import pgserver

        # It waits for ten seconds, which is not enough where much else runs; asked again, it gives the same server.
        with suppress(subprocess.TimeoutExpired):
            pgserver.get_server(folder, cleanup_mode="stop")
        self._server = pgserver.get_server(folder, cleanup_mode="stop")
        self.start()
        # Nothing here outlives the machine, and recovery reads every file before it starts.
        self.do("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")

    def url(self, user: str = "postgres", database: str = "postgres", password: str = "") -> str:
        folder = self._server.get_postmaster_info().socket_dir
        return f"postgresql://{user}:{password}@/{database}?host={folder}"

    def do(self, *statements: str, database: str = "postgres") -> list[Any]:
        """Run statements as the administrator. Returns the rows of the last one."""
        with psycopg.connect(self.url(database=database), autocommit=True) as connection:
            for statement in statements[:-1]:
                connection.execute(sql.SQL(statement))
            cursor = connection.execute(sql.SQL(statements[-1]))
            return cursor.fetchall() if cursor.description else []

    def ask_for_passwords(self, user: str) -> None:
        """From now on, this user must give a password."""
        rules = self._server.pgdata / "pg_hba.conf"
        rules.write_text(f"local all {user} scram-sha-256\n{rules.read_text()}")
        self.do("SELECT pg_reload_conf()")

    def crash(self) -> None:
        """Stop it without letting it finish anything."""
        from pgserver._commands import pg_ctl

        pg_ctl(["-w", "-m", "immediate", "stop"], pgdata=self._server.pgdata, user=self._server.system_user)

    def start(self) -> None:
        """Start it, unless it runs."""
        for _ in range(60):
            with suppress(subprocess.TimeoutExpired, AssertionError):
                self._server.ensure_postgres_running()
                return
            time.sleep(1)

    def end(self) -> None:
        """Stop it for good; nothing that it holds is needed any more."""
        self.crash()
        self._server.cleanup()
        # It would do so once more when the tests are over, and make its folder again.
        atexit.unregister(self._server._cleanup)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    # Short, since a socket's path is at most about 100 characters; pgserver, imported first here, keeps its lock there.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    (folder / "data").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        started = Server(folder / "data")
    started.do("CREATE DATABASE indexed")
    # So that tables of a few vectors are searched by their index too.
    started.do("ALTER DATABASE indexed SET enable_seqscan = off")
    yield started
    started.end()
    shutil.rmtree(folder)
