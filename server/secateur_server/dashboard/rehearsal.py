"""Takes what a what-if needs out of a live fleet, and has it judged."""

from collections.abc import Mapping
from typing import Any

from secateur_protocols.control import SetPolicy
from secateur_server.core.policy import Scope, change_policy, normalize_selector
from secateur_server.dashboard.history import History
from secateur_server.dashboard.link import Link
from secateur_server.dashboard.what_if import (
    Outcome,
    read_policies,
    replay,
    sample,
    share_out,
)
from secateur_server.errors import InputError


def foresee(link: Link, action: SetPolicy, shown: Mapping[str, Any]) -> Outcome:
    """Judge what is recorded under today's policy and under the changed one.

    Takes seconds; the fleet is held for the moment of copying only.

    Raises:
        InputError: The selector is none.
    """
    today = read_policies(shown)
    try:
        selector = normalize_selector(action.selector or "")
    except ValueError as error:
        raise InputError(str(error)) from error
    scope = Scope(action.device, action.model, selector)
    changed = change_policy(
        today, scope, action.change, is_cleared=action.clear, unset=action.unset
    )
    with link.lock:
        fleet = link.fleet
        known = [name for name in fleet.recording.devices() if name in fleet.devices]
        births = {
            name: info
            for name in sample(known)
            if (info := fleet.devices[name].info) is not None
        }
        _, each = share_out(len(known))
        recorded = {name: fleet.recording.of(name)[-each:] for name in births}
        ladders = dict(fleet.ladders)
    moments = {}
    for name, messages in recorded.items():
        history = History()
        history.follow(messages)
        moments[name] = list(history.moments)
    return replay(births, moments, ladders, (today, changed), known=len(known))
