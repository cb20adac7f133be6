"""What a plan says of a distillation."""

from pydantic import BaseModel, ConfigDict


class DistillationRecord(BaseModel):
    """How a level was distilled after it was pruned.

    Attributes:
        samples: How many unlabelled samples there were, those held back included.
        steps: That were made.
        best_step: After which the network was as it is; 0: distilling changed nothing.
        loss: On the samples held back, before and after.
        agreement: The same; see `Judgement`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: int
    steps: int
    best_step: int
    step_size: float
    seed: int
    augment: str
    loss: tuple[float, float]
    agreement: tuple[float, float]
