"""The base of everything that travels as JSON."""

from pydantic import BaseModel, ConfigDict


class Message(BaseModel):
    """A value from or for a peer: strict about what we know, silent about what we do not.

    Unknown fields are ignored (rule W7), so that old agents survive a newer coordinator
    and the other way round. NaN and infinity are refused: JSON has neither.
    """

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="ignore",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        # "model_" is pydantic's own prefix; here a model is a network.
        protected_namespaces=(),
    )
