"""What a caller did wrong, or what cannot be done for it now."""

from http import HTTPStatus


class RequestError(Exception):
    """A request that gets an error as its response.

    Attributes:
        status: Of HTTP.
        closes: Whether the connection cannot be used any more: where the request ends is
            not known.
    """

    def __init__(self, status: HTTPStatus, problem: str, *, closes: bool = False) -> None:
        super().__init__(problem)
        self.status = status
        self.closes = closes
