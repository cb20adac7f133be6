#!/bin/sh
# Make this machine a device of a Secateur fleet: Debian, Raspberry Pi OS, Ubuntu, with systemd.
#
#     sudo sh install-agent.sh --device meter-7 --broker mqtts://broker.example
#
# Puts a virtual environment into /opt/secateur and hands over to 'secateur-agent install', which
# takes the options that are not listed here. Run it again to upgrade: configuration and models
# stay. 'sudo /opt/secateur/bin/secateur-agent uninstall' takes everything away again.
#
#     --from WHAT     what pip installs: a version such as 'secateur[agent]==0.1.0', or the path of
#                     a wheel followed by [agent]; 'secateur[agent]' unless given
#     --offline DIR   take all distributions from this folder, nothing from the network
set -eu

fail() {
    echo "install-agent.sh: error: $1" >&2
    exit 2
}

what='secateur[agent]'
offline=''
while [ $# -gt 0 ]; do
    case $1 in
        --from) [ $# -ge 2 ] || fail "--from needs a value"; what=$2; shift 2 ;;
        --offline) [ $# -ge 2 ] || fail "--offline needs a value"; offline=$2; shift 2 ;;
        *) break ;;
    esac
done

[ "$(id -u)" = 0 ] || fail "installing a service needs root: try again with sudo"
command -v systemctl >/dev/null || fail "systemd is not here"
python=$(command -v python3) || fail "python3 is not here: apt install python3 python3-venv"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) is too old: 3.11 or newer is needed"
"$python" -c 'import ensurepip, venv' 2>/dev/null || fail "apt install python3-venv"

new=''
[ -d /opt/secateur ] || new=yes
# What is half made is no installation.
trap '[ -z "$new" ] || rm -rf /opt/secateur' EXIT
"$python" -m venv /opt/secateur
/opt/secateur/bin/pip install --quiet --disable-pip-version-check --upgrade \
    ${offline:+--no-index --find-links "$offline"} "$what"
new=''
exec /opt/secateur/bin/secateur-agent install "$@"
