"""Backup and restore: by their commands, of real data, on both databases."""

import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from secateur_server.adapters.store import Store, sqlite_url
from secateur_server.cli.app import run
from secateur_server.registry.registry import Registry
from support.postgres import PostgresServer, find_postgres


@pytest.fixture
def data(tmp_path: Path, digits_ladder: Path) -> Path:
    """Give a server's folder with a published ladder, a key, and a database."""
    folder = tmp_path / "server"
    Registry(folder / "registry").publish(digits_ladder)
    (folder / "keys").mkdir()
    (folder / "keys" / "secret").touch(0o600)
    (folder / "keys" / "secret").write_bytes(b"a key")
    (folder / "broker").mkdir()
    (folder / "broker" / "mosquitto.db").write_bytes(b"said again")
    Store(sqlite_url(folder / "secateur.sqlite"), "default").close()
    return folder


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    programs = find_postgres()
    if programs is None or shutil.which("pg_dump") is None:
        pytest.skip("postgresql is not installed: apt install postgresql")
    server = PostgresServer(programs)
    yield server
    server.stop()


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "sqlite" not in path.name and "broker" not in path.parts
    }


def tables(url: str) -> set[str]:
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    names = set(sa.inspect(engine).get_table_names())
    engine.dispose()
    return names


def test_what_was_backed_up_comes_back(data: Path, tmp_path: Path) -> None:
    archive, again = tmp_path / "backup.tar.gz", tmp_path / "again"
    assert run(["backup", str(archive), "--data", str(data)]) == 0
    assert run(["restore", str(archive), "--data", str(again)]) == 0
    assert contents(again) == contents(data)
    assert archive.stat().st_mode & 0o777 == 0o600
    assert (again / "keys" / "secret").stat().st_mode & 0o777 == 0o600
    assert not (again / "broker").exists()
    assert Registry(again / "registry").latest() == Registry(data / "registry").latest()
    urls = [sqlite_url(each / "secateur.sqlite") for each in (data, again)]
    assert tables(urls[0]) == tables(urls[1]) != set()


def test_a_backup_is_taken_while_a_coordinator_writes(data: Path, tmp_path: Path) -> None:
    url = sqlite_url(data / "secateur.sqlite")
    store = Store(url, "default")
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE written (n INTEGER)"))
        connection.execute(sa.text("INSERT INTO written VALUES (7)"))
    archive, again = tmp_path / "backup.tar.gz", tmp_path / "again"
    assert run(["backup", str(archive), "--data", str(data)]) == 0
    engine.dispose()
    store.close()
    assert run(["restore", str(archive), "--data", str(again)]) == 0
    restored = sa.create_engine(sqlite_url(again / "secateur.sqlite"))
    with restored.connect() as connection:
        assert connection.execute(sa.text("SELECT n FROM written")).scalar_one() == 7
    restored.dispose()


def test_postgresql_is_backed_up_and_comes_back(
    data: Path, tmp_path: Path, postgres: PostgresServer
) -> None:
    source, target = postgres.make_database(), postgres.make_database()
    Store(source, "default").close()
    archive, again = tmp_path / "backup.tar.gz", tmp_path / "again"
    assert run(["backup", str(archive), "--data", str(data), "--database", source]) == 0
    assert run(["restore", str(archive), "--data", str(again), "--database", target]) == 0
    assert tables(target) == tables(source) != set()


def test_a_folder_in_use_is_left_alone(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "backup.tar.gz"
    assert run(["backup", str(archive), "--data", str(data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] > 5
    before = contents(data)
    assert run(["restore", str(archive), "--data", str(data)]) == 2
    assert "in use" in capsys.readouterr().err
    assert contents(data) == before


@pytest.mark.parametrize("cut", [0, 100, -200])
def test_a_damaged_backup_brings_nothing(data: Path, tmp_path: Path, cut: int) -> None:
    archive, again = tmp_path / "backup.tar.gz", tmp_path / "again"
    assert run(["backup", str(archive), "--data", str(data)]) == 0
    archive.write_bytes(archive.read_bytes()[:cut])
    assert run(["restore", str(archive), "--data", str(again)]) == 2
    assert not again.exists()
    assert [path.name for path in tmp_path.glob(".restore-*")] == []


@pytest.mark.parametrize("name", ["../evil", "/evil", "data/../../evil"])
def test_a_backup_writes_nowhere_else(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "deep" / "backup.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo(name))
    assert run(["restore", str(archive), "--data", str(tmp_path / "deep" / "again")]) == 2
    assert [path.name for path in tmp_path.rglob("*evil*")] == []


def test_what_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["backup", str(tmp_path / "b"), "--data", str(tmp_path / "no")]) == 2
    assert "is not a folder" in capsys.readouterr().err
    assert run(["restore", str(tmp_path / "b"), "--data", str(tmp_path / "new")]) == 2
    assert "is not there" in capsys.readouterr().err
