"""The agent: what runs on a device.

    from secateur_agent import Agent

is for programs that infer themselves; see `secateur_agent.in_process`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secateur_agent.in_process import Agent, Answer, NoAnswerError

__all__ = ["Agent", "Answer", "NoAnswerError"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    """Import what is asked for only then: the agent's own processes need none of it."""
    if name not in __all__:
        raise AttributeError(name)
    from secateur_agent import in_process  # noqa: PLC0415 - see above

    return getattr(in_process, name)
