"""Servers as Debian packages them, redis-server 7 and PostgreSQL 15, as a user would run them: with passwords.

Started in a folder of their own on ports of loopback, and never left behind (the supervisor of embedded
servers watches over them); nothing of what the packages have set up on the machine is used.
"""

import shutil
import signal
import socket
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from cacheproof.chaos.servers.folder import Folder, make_folder
from cacheproof.chaos.servers.lifeline import Lifeline, Program
from cacheproof.chaos.servers.login import Login
from cacheproof.chaos.servers.postgres import greets
from cacheproof.chaos.servers.process import Process
from cacheproof.chaos.servers.server import Address
from cacheproof.chaos.wire.upstream import PgUpstream, RedisUpstream
from cacheproof.models.decision import ServerName

PASSWORD = "s3cret/with:signs@"
QUOTED = "s3cret%2Fwith%3Asigns%40"


@dataclass(frozen=True)
class Programs:
    """Where Debian puts them."""

    redis: Path
    postgres: Path


def find_programs() -> Programs | None:
    """None if one of them is not installed."""
    redis = shutil.which("redis-server")
    postgres = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return Programs(Path(redis), postgres[-1]) if redis and postgres else None


def _free_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        number: int = line.getsockname()[1]
        return number


class DebianServers:
    """A context manager.  `redis_url` and `database_url` hold passwords; the user `app` is no superuser.

    The databases are `records`, of a superuser, and `app`.
    """

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self.redis_port, self.postgres_port = _free_port(), _free_port()
        self.redis_name = f"127.0.0.1:{self.redis_port}/0"
        self.redis_url = f"redis://:{QUOTED}@127.0.0.1:{self.redis_port}/0"
        self.database_url = f"postgresql://cacheproof:{QUOTED}@127.0.0.1:{self.postgres_port}/test"
        self.app_url = f"postgresql://app:{QUOTED}@127.0.0.1:{self.postgres_port}/app"
        self._lifeline: Lifeline | None = None

    def __enter__(self) -> Self:
        folder = make_folder()
        self._lifeline = Lifeline(folder)
        try:
            self._start(folder, self._lifeline)
        except BaseException:
            self._lifeline.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._lifeline is not None
        self._lifeline.end()

    def _start(self, folder: Folder, lifeline: Lifeline) -> None:
        place = folder.sub_folder("debian")
        (folder.path / "password").write_text(PASSWORD)
        (folder.path / "password").chmod(0o644)
        self._initdb(folder, lifeline, place)
        redis = Program(
            label="redis",
            title="Redis",
            argv=(
                *(str(self._programs.redis), "--port", str(self.redis_port), "--bind", "127.0.0.1"),
                *("--requirepass", PASSWORD, "--dir", str(place), "--save", "3600 1"),
            ),
            cwd=place,
            log=folder.path / "redis.log",
            farewell=signal.SIGKILL,
        )
        self._begin(
            redis, Address(("127.0.0.1", self.redis_port), Login(password=PASSWORD)), lifeline, self._pings
        )
        socket_of_postgres = Address(str(place / f".s.PGSQL.{self.postgres_port}"))
        postgres = Program(
            label="postgres",
            title="PostgreSQL",
            argv=(
                *(str(self._programs.postgres), "-D", str(place / "data"), "-p", str(self.postgres_port)),
                *(
                    "-c",
                    "listen_addresses=127.0.0.1",
                    "-c",
                    f"unix_socket_directories={place}",
                    "-c",
                    "fsync=off",
                ),
            ),
            cwd=place,
            log=folder.path / "postgres.log",
            farewell=signal.SIGQUIT,
            locks=(place / "data" / "postmaster.pid",),
        )
        self._begin(postgres, socket_of_postgres, lifeline, greets)
        with closing(
            PgUpstream(socket_of_postgres, {"user": "cacheproof", "database": "postgres"})
        ) as session:
            session.query("create database test")
            session.query(f"create role app login password '{PASSWORD}'")
            session.query("create database app owner app")

    def _initdb(self, folder: Folder, lifeline: Lifeline, place: Path) -> None:
        program = Program(
            label="initdb",
            title="initdb",
            argv=(
                *(str(self._programs.postgres.with_name("initdb")), "-D", str(place / "data")),
                *("-U", "cacheproof", "--auth-local=trust", "--auth-host=scram-sha-256"),
                *(f"--pwfile={folder.path / 'password'}", "--no-sync", "--encoding=UTF8", "--locale=C"),
            ),
            cwd=place,
            log=folder.path / "initdb.log",
            farewell=signal.SIGKILL,
        )
        lifeline.spawn(program)
        while (code := lifeline.exit_code("initdb")) is None:
            continue
        assert code == 0, (folder.path / "initdb.log").read_text()

    @staticmethod
    def _begin(program: Program, address: Address, lifeline: Lifeline, answers: object) -> None:
        assert callable(answers)
        Process(
            ServerName.CACHE,
            program,
            address,
            lifeline,
            answers=lambda: bool(answers(address)),
            description=lambda: program.title,
            patience_s=30.0,
        ).start()

    @staticmethod
    def _pings(address: Address) -> bool:
        with socket.socket() as line:  # whether anybody is there, as a socket tells it
            line.connect(address.sockaddr)
        with closing(RedisUpstream(address, 2, import_source=False)) as line:
            return not line.call("PING").is_error
