"""Install the agent as a systemd service, and take it away again. Needs root.

    /etc/secateur/agent.toml            configuration; written once, then the operator's
    /etc/secateur/credentials/          device.pem, fleet-ca.crt; root's alone
    /etc/systemd/system/secateur-agent.service
    /var/lib/secateur/                  artifacts and what is committed
    {sys.prefix}                        the virtual environment that this program runs in

Each step can be done again: what is there already is left or brought up to date.
"""

import grp
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from secateur_agent.adapters.files import write_atomically
from secateur_agent.credentials import Credentials, enroll, fetch_root
from secateur_agent.errors import ConfigError, SystemToolError
from secateur_agent.installation.configuration import first_configuration
from secateur_agent.settings import read_settings

USER = "secateur"
UNIT = "secateur-agent.service"
UNIT_PATH = Path("/etc/systemd/system") / UNIT
DROP_INS_PATH = Path("/etc/systemd/system") / f"{UNIT}.d"
CONFIG_DIR = Path("/etc/secateur")
CONFIG_PATH = CONFIG_DIR / "agent.toml"
ROOT_PATH = CONFIG_DIR / "root.json"
CREDENTIALS_DIR = CONFIG_DIR / "credentials"
CREDENTIALS = ("device.pem", "fleet-ca.crt")
STATE_DIR = Path("/var/lib/secateur")
UNIT_PREFIX = "/opt/secateur"
"""Where the unit that ships says the virtual environment is."""

COMMAND_S = 120.0
"""Longest that systemd or a user tool may take, seconds; the service itself has 90 to start."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the operator says at the first installation; later the configuration is theirs."""

    device: str | None
    broker_url: str | None
    site: str
    models: Sequence[str]
    enroll_url: str | None = None
    """Where to ask for a certificate, with ``token``. ``None``: none is asked for."""
    token: str | None = None
    root: Path | None = None
    """Root metadata to trust. ``None``: what is there, or what the authority gives."""


def install(wanted: Wanted, *, start: bool) -> str:
    """Install the service, or bring an installed one up to date.

    Args:
        wanted: For the configuration, where there is none yet.
        start: Whether to start it now, and at every boot.

    Returns:
        What was done, in one line.

    Raises:
        ConfigError: Not root, no systemd, nothing known of the device, or a configuration
            that is there cannot be used.
        SystemToolError: A tool of the system failed; it can be tried again.
    """
    _need_root()
    _write_configuration(wanted)
    read_settings(CONFIG_PATH)
    _make_user()
    shutil.chown(CONFIG_PATH, group=USER)
    CONFIG_PATH.chmod(0o640)
    _make_credentials()
    if wanted.enroll_url is not None:
        enroll(wanted.enroll_url, wanted.token or "", Credentials(CREDENTIALS_DIR))
    _pin_root(wanted)
    _write_unit()
    _run("systemctl", "daemon-reload")
    if not start:
        return f"installed {UNIT}; start it with: systemctl enable --now {UNIT}"
    _run("systemctl", "enable", UNIT)
    # Also where it runs already: an upgrade is to run what was installed.
    _run("systemctl", "restart", UNIT)
    return f"installed and started {UNIT}"


def uninstall() -> str:
    """Stop the service and remove all that `install` and the service wrote, models included.

    Returns:
        What was done, in one line.

    Raises:
        ConfigError: Not root.
        SystemToolError: The service does not stop; nothing was removed.
    """
    _need_root()
    if UNIT_PATH.exists():
        _run("systemctl", "disable", "--now", UNIT)
    UNIT_PATH.unlink(missing_ok=True)
    shutil.rmtree(DROP_INS_PATH, ignore_errors=True)
    _run("systemctl", "daemon-reload")
    for folder in (CONFIG_DIR, STATE_DIR, Path("/run/secateur")):
        shutil.rmtree(folder, ignore_errors=True)
    if _has_user():
        _run("userdel", USER)
    if Path(sys.prefix) == Path(UNIT_PREFIX):
        shutil.rmtree(sys.prefix, ignore_errors=True)  # last: it is what runs this
    return f"removed {UNIT}, its user, its configuration and its models"


def _need_root() -> None:
    if os.geteuid() != 0:
        raise ConfigError("installing a service needs root: try again with sudo")
    if shutil.which("systemctl") is None:
        raise ConfigError("systemd is not here: run 'secateur-agent run' by what you have")


def _write_configuration(wanted: Wanted) -> None:
    if CONFIG_PATH.exists():
        return
    if wanted.device is None or wanted.broker_url is None:
        raise ConfigError(f"{CONFIG_PATH} is not there yet: give --device and --broker")
    CONFIG_DIR.mkdir(mode=0o755, parents=True, exist_ok=True)
    text = first_configuration(
        device=wanted.device,
        site=wanted.site,
        broker_url=wanted.broker_url,
        models=wanted.models,
        renew_url=wanted.enroll_url,
    )
    write_atomically(CONFIG_PATH, text.encode())


def _pin_root(wanted: Wanted) -> None:
    """Trust what the operator gives, else what the authority that made the token gives."""
    if wanted.root is not None:
        try:
            content = wanted.root.read_bytes()
        except OSError as error:
            msg = f"cannot read the root {wanted.root}: {error.strerror}"
            raise ConfigError(msg) from error
    elif wanted.enroll_url is not None and not ROOT_PATH.exists():
        content = fetch_root(wanted.enroll_url, Credentials(CREDENTIALS_DIR))
    else:
        return
    write_atomically(ROOT_PATH, content, mode=0o644)


def _make_user() -> None:
    if _has_user():
        return
    _run(
        "useradd",
        "--system",
        "--user-group",
        "--no-create-home",
        f"--home-dir={STATE_DIR}",
        "--shell=/usr/sbin/nologin",
        USER,
    )


def _has_user() -> bool:
    try:
        pwd.getpwnam(USER)
        grp.getgrnam(USER)
    except KeyError:
        return False
    return True


def _make_credentials() -> None:
    """Make empty ones where there are none: systemd does not start a unit that misses one."""
    CREDENTIALS_DIR.mkdir(mode=0o700, exist_ok=True)
    for name in CREDENTIALS:
        (CREDENTIALS_DIR / name).touch(0o600)


def _write_unit() -> None:
    shipped = resources.files("secateur_agent.installation").joinpath(UNIT)
    text = shipped.read_text(encoding="utf-8").replace(UNIT_PREFIX, sys.prefix)
    write_atomically(UNIT_PATH, text.encode())
    UNIT_PATH.chmod(0o644)


def _run(*command: str) -> None:
    try:
        subprocess.run(  # noqa: S603 - the system's own tools
            command, capture_output=True, text=True, check=True, timeout=COMMAND_S
        )
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip() or f"ended with {error.returncode}"
        raise SystemToolError(f"{' '.join(command)}: {said}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SystemToolError(f"{' '.join(command)}: {error}") from error
