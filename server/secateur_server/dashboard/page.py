"""What a page is: a frame that is drawn once, and fragments that are drawn again and again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from secateur_server.dashboard.fleet import Fleet
from secateur_server.dashboard.link import Role
from secateur_server.dashboard.markup import Html


@dataclass(frozen=True, slots=True)
class View:
    """Whose eyes a page is drawn for.

    Attributes:
        now_s: UTC seconds since 1970.
        is_connected: Whether the broker is there.
    """

    fleet: Fleet
    site: str
    user: str
    role: Role
    is_connected: bool
    now_s: float

    @property
    def may_act(self) -> bool:
        """Whether it makes sense to offer what changes anything."""
        return self.role is not Role.VIEWER


@dataclass(frozen=True, slots=True)
class Rows:
    """Lines of a table: each is sent again only where it has changed.

    Attributes:
        lines: By key, in order.
    """

    lines: Mapping[str, Html]


Fragments = Mapping[str, Html | Rows]
"""By the id of the element whose content it is."""


class Page(Protocol):
    """One page, for one address. Holds what it remembers between two looks."""

    title: str
    place: str
    """The entry of the navigation that it belongs to."""

    def look(self, view: View) -> Fragments:
        """Draw what changes. The fleet is not changed meanwhile."""

    def frame(self, view: View, seen: Fragments) -> Html:
        """Draw the rest around what `look` gave."""
