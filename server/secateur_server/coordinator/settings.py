"""The coordinator's settings: one frozen object, from options and an optional TOML file."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from secateur_protocols.codec import first_problem
from secateur_protocols.ids import Name, SiteId
from secateur_protocols.logs import LogForm
from secateur_server.errors import InputError

Port = Annotated[int, Field(ge=0, le=65_535)]


class ServeSettings(BaseModel):
    """All of ``server.toml``; every field is also an option of ``secateur serve``."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    site: SiteId = "default"
    broker: str | None = None
    """``mqtt://host:port``. ``None``: a broker of our own, on this machine only."""
    broker_port: Port = 1883
    """Of our own broker; 0 takes a free one."""
    data: Path = Path("secateur-data")
    """Registry, database and our own broker's files."""
    http_host: str = "127.0.0.1"
    """Where blobs are served; 0.0.0.0, with a ``public_url``, for other machines too."""
    http_port: Port = 8008
    """0 takes a free one."""
    public_url: str | None = None
    """How devices reach the blobs. ``None``: ``http://{http_host}:{http_port}/blobs``."""
    amqtt: bool = False
    """Take amqtt as our own broker also where Mosquitto is installed."""
    database: str | None = None
    """``sqlite:///path`` or ``postgresql://user:password@host/name``. ``None``: SQLite in
    ``data``."""
    log_format: LogForm = LogForm.CONSOLE
    """How lines on stderr are written: in words, or as JSON for programs."""
    replica: Name | None = None
    """This coordinator's name among several of the site. ``None``: it is the only one."""

    dashboard_port: Port | None = None
    """Show the fleet in a browser, on this port of this machine; 0 takes a free one. ``None``:
    no dashboard."""

    @model_validator(mode="after")
    def _replicas_share_what_they_need(self) -> Self:
        if self.replica is None:
            return self
        if self.database is None or not self.database.startswith("postgresql"):
            msg = (
                "replicas share a database, which SQLite is not made for: give a postgresql one"
            )
            raise ValueError(msg)
        if self.broker is None:
            msg = "replicas share a broker: give its address as broker"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _devices_can_find_the_blobs(self) -> Self:
        if self.http_host in {"0.0.0.0", "::"} and self.public_url is None:  # noqa: S104 - refused
            msg = f"http_host {self.http_host} is no address to go to: give public_url as well"
            raise ValueError(msg)
        return self


def read_settings(path: Path | None, options: dict[str, Any]) -> ServeSettings:
    """Merge a file and what was given on the command line, which comes first.

    Raises:
        InputError: The file is missing, no TOML, or a value cannot be; names the key.
    """
    document: dict[str, Any] = {}
    if path is not None:
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is not TOML: {error}") from error
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return ServeSettings.model_validate({**document, **given})
    except ValidationError as error:
        raise InputError(f"{path or 'options'}: {first_problem(error)}") from error
