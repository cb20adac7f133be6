"""A PostgreSQL server of the tests' own, on a free loopback port, from Debian's package."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import sqlalchemy as sa

START_S = 60.0


def find_postgres() -> Path | None:
    """Find the newest installed server's programs, which Debian keeps off PATH."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    folders = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((path.parent for path in folders), default=None, key=str)


class PostgresServer:
    """One server with a folder of its own; as root it runs as the user ``postgres``."""

    def __init__(self, programs: Path) -> None:
        self._user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self._folder = Path(tempfile.mkdtemp(prefix="secateur-postgres-"))
        if os.geteuid() == 0:
            shutil.chown(self._folder, self._user)
        data = self._folder / "data"
        self._run(programs / "initdb", "-D", data, "-U", "secateur", "-A", "trust", "--no-sync")
        self.port = _free_port()
        self._log = (self._folder / "log").open("wb")
        self._process = subprocess.Popen(
            [
                programs / "postgres",
                "-D",
                data,
                "-k",
                self._folder,
                "-p",
                str(self.port),
                "-h",
                "127.0.0.1",
                "-c",
                "fsync=off",
            ],
            stdout=self._log,
            stderr=self._log,
            cwd=self._folder,
            **self._as_user(),  # type: ignore[call-overload] # a user, or none
        )
        self._wait()

    def make_database(self) -> str:
        """Make an empty database and give its URL."""
        name = f"t{uuid.uuid4().hex}"
        engine = sa.create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self._url(name).replace("+psycopg", "")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30.0)
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _url(self, name: str) -> str:
        return f"postgresql+psycopg://secateur@127.0.0.1:{self.port}/{name}"

    def _as_user(self) -> dict[str, str]:
        return {"user": self._user, "group": self._user} if os.geteuid() == 0 else {}

    def _run(self, *command: object) -> None:
        subprocess.run(
            list(map(str, command)),
            check=True,
            capture_output=True,
            cwd=self._folder,
            **self._as_user(),  # type: ignore[call-overload] # a user, or none
        )

    def _wait(self) -> None:
        until = time.monotonic() + START_S
        engine = sa.create_engine(self._url("postgres"))
        while True:
            try:
                with engine.connect():
                    break
            except sa.exc.OperationalError:
                assert self._process.poll() is None, "PostgreSQL ended"
                assert time.monotonic() < until, "PostgreSQL did not start"
                time.sleep(0.1)
        engine.dispose()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
