"""The configuration that a device starts with."""

import json
from collections.abc import Sequence
from urllib.parse import urlsplit

HEAD = """\
# Written by 'secateur-agent install', and yours from now on: an upgrade leaves it alone.
# All keys: docs/agent-config.md. After a change: systemctl restart secateur-agent
device = {device}
site = {site}
state_dir = "/var/lib/secateur"

# Whose models run here: what 'secateur keys init' names on the server, copied to this place.
[trust]
root = "/etc/secateur/root.json"

[broker]
url = {url}
{tls}
# For programs on this device: the Open Inference Protocol, and metrics.
[http]
listen = "127.0.0.1:8000"
"""

TLS = """\
# Put there by systemd, from /etc/secateur/credentials.
ca_file = "/run/credentials/secateur-agent.service/fleet-ca.crt"
cert_file = "/run/credentials/secateur-agent.service/device.pem"
"""

MODEL = """
[[models]]
name = {name}
deadline_ms = 100.0
"""


def first_configuration(
    *,
    device: str,
    site: str,
    broker_url: str,
    models: Sequence[str],
    renew_url: str | None = None,
) -> str:
    """Write an ``agent.toml``: models answer HTTP callers, within a deadline of 100 ms."""
    has_login = urlsplit(broker_url).username is not None
    needs_certificate = broker_url.startswith("mqtts:") and not has_login
    tls = TLS if needs_certificate else ""
    if needs_certificate and renew_url is not None:
        tls += f"renew_url = {json.dumps(renew_url)}\n"
    head = HEAD.format(
        device=json.dumps(device),
        site=json.dumps(site),
        url=json.dumps(broker_url),
        tls=tls,
    )
    return head + "".join(MODEL.format(name=json.dumps(name)) for name in models)
