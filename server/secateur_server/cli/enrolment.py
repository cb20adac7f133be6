"""``secateur enroll | revoke | certificate``: who belongs to the fleet."""

import datetime as dt
import json
from pathlib import Path
from typing import Annotated

import typer

from secateur_protocols.logs import LogForm, log_to_stderr

JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DATA = Annotated[Path, typer.Option(help="The server's folder.")]
OUT = Annotated[Path, typer.Option(help="Where the files go.")]
DEFAULT_DATA = Path("secateur-data")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(enroll)
    app.command()(revoke)
    certificate = typer.Typer(help="The fleet's certificates.")
    certificate.command("broker")(certify_broker)
    certificate.command("list")(list_certificates)
    certificate.command("serve")(serve_certificates)
    app.add_typer(certificate, name="certificate")


def enroll(
    device: Annotated[str, typer.Argument(help="The device's id; its certificate's CN.")],
    out: OUT = Path(),
    data: DATA = DEFAULT_DATA,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long it lives.")] = 90,
    csr: Annotated[
        Path | None, typer.Option(help="The device's own request; none: we make its key.")
    ] = None,
    hours: Annotated[float, typer.Option(min=0.01, max=720, help="A token's life.")] = 24,
    *,
    token: Annotated[
        bool, typer.Option("--token", help="Make a one-time token, not a certificate.")
    ] = False,
    as_json: JSON = False,
) -> None:
    """Issue a device its certificate, or a token with which it asks for it."""
    if token:
        _make_token(device, data, hours, as_json=as_json)
        return
    from secateur_server.adapters.files import write_atomically
    from secateur_server.enrolment.authority import AUTHORITY, FleetAuthority
    from secateur_server.errors import InputError

    try:
        request = csr.read_bytes() if csr is not None else None
    except OSError as error:
        raise InputError(f"cannot read {csr}: {error.strerror}") from error
    authority = FleetAuthority(data / AUTHORITY)
    issued = authority.enroll(device, now=_now(), days=days, csr=request)
    # One file for both, so that they are never of two minds.
    name = "device.crt" if issued.key is None else "device.pem"
    files = {"certificate": out / name, "authority": out / "fleet-ca.crt"}
    write_atomically(files["certificate"], issued.certificate + (issued.key or b""), mode=0o600)
    write_atomically(files["authority"], authority.certificate_path.read_bytes())
    names = {name: str(path) for name, path in files.items()}
    if as_json:
        typer.echo(json.dumps({"device": device, "days": days, **names}))
    else:
        typer.echo(f"enrolled {device} for {days} days: {', '.join(sorted(names.values()))}")


def _make_token(device: str, data: Path, hours: float, *, as_json: bool) -> None:
    from secateur_server.enrolment.authority import AUTHORITY, FleetAuthority
    from secateur_server.enrolment.tokens import Tokens

    authority = FleetAuthority(data / AUTHORITY)
    tokens = Tokens(authority.folder, authority.fingerprint)
    made = tokens.make(device, now=_now(), hours=hours)
    if as_json:
        typer.echo(json.dumps({"device": device, "token": made, "hours": hours}))
    else:
        typer.echo(made)


def revoke(
    device: Annotated[str, typer.Argument(help="The device to shut out.")],
    data: DATA = DEFAULT_DATA,
    *,
    as_json: JSON = False,
) -> None:
    """Revoke a device's certificates; the broker must read the new list."""
    from secateur_server.enrolment.authority import AUTHORITY, FleetAuthority

    authority = FleetAuthority(data / AUTHORITY)
    count = authority.revoke(device, now=_now())
    if as_json:
        path = str(authority.revocations_path)
        typer.echo(json.dumps({"device": device, "revoked": count, "list": path}))
    else:
        typer.echo(
            f"revoked {count} of {device}: copy {authority.revocations_path} to the broker "
            "and restart it"
        )


def certify_broker(
    hosts: Annotated[list[str], typer.Argument(help="Names or addresses devices use.")],
    out: OUT = Path(),
    data: DATA = DEFAULT_DATA,
    *,
    as_json: JSON = False,
) -> None:
    """Issue a broker its certificate, and the lists it needs."""
    from secateur_server.adapters.files import write_atomically
    from secateur_server.enrolment.authority import AUTHORITY, FleetAuthority

    authority = FleetAuthority(data / AUTHORITY)
    issued = authority.certify_server(hosts, now=_now())
    contents = {
        "broker.crt": issued.certificate,
        "fleet-ca.crt": authority.certificate_path.read_bytes(),
        "fleet-ca.crl": authority.revocations_path.read_bytes(),
    }
    write_atomically(out / "broker.key", issued.key or b"", mode=0o600)
    for name, content in contents.items():
        write_atomically(out / name, content)
    names = ["broker.key", *contents]
    if as_json:
        typer.echo(json.dumps({"hosts": hosts, "files": [str(out / name) for name in names]}))
    else:
        typer.echo(f"{out}: {', '.join(names)}")


def serve_certificates(
    hosts: Annotated[list[str], typer.Argument(help="Names or addresses devices use.")],
    data: DATA = DEFAULT_DATA,
    listen: Annotated[str, typer.Option(help="Where to listen.")] = "0.0.0.0",  # noqa: S104 - devices come from elsewhere, and TLS asks who they are
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: a free one.")] = 8009,
    log_format: Annotated[LogForm, typer.Option(help="Of lines on stderr.")] = LogForm.CONSOLE,
    ready_file: Annotated[Path | None, typer.Option(help="Gets the port as JSON.")] = None,
) -> None:
    """Give certificates to devices that bring a token, or one that is to be renewed."""
    import logging
    import signal
    import threading

    from secateur_server.adapters.files import write_atomically
    from secateur_server.enrolment.authority import AUTHORITY, FleetAuthority
    from secateur_server.enrolment.https import EnrolmentServer

    log_to_stderr(log_format, logging.INFO)
    authority = FleetAuthority(data / AUTHORITY)
    server = EnrolmentServer(authority, host=listen, port=port, names=hosts, now=_now)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    server.start()
    typer.echo(f"certificates https://{hosts[0]}:{server.port}")
    if ready_file is not None:
        write_atomically(ready_file, json.dumps({"port": server.port}).encode())
    ended.wait()
    server.stop()


def list_certificates(data: DATA = DEFAULT_DATA, *, as_json: JSON = False) -> None:
    """List the devices' certificates."""
    from secateur_server.enrolment.authority import AUTHORITY, FleetAuthority

    rows = [
        {
            "device": each.device,
            "serial": each.serial,
            "expires": each.expires.isoformat(),
            "revoked": each.is_revoked,
        }
        for each in FleetAuthority(data / AUTHORITY).enrolled()
    ]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("device", "expires", "revoked", "serial")
    for row in rows:
        table.add_row(
            str(row["device"]),
            str(row["expires"])[:10],
            "yes" if row["revoked"] else "no",
            str(row["serial"]),
        )
    Console().print(table)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
