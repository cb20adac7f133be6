"""Whether XNNPACK's sparse kernels would take a graph, and what stands in the way.

They compute in another order of axes (NCHW). A part of the graph is switched to it as a
whole or not at all: from a stem that turns the order to a mean over the image that turns it
back. One operator between that does not know the order keeps the whole part dense.

Source:
    ``xnn_subgraph_rewrite_for_nchw`` in XNNPACK's ``src/subgraph.c``.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from secateur_server.pruning.graph import Graph, Operator
from secateur_server.pruning.linear import weights_of
from secateur_server.pruning.sparse.roles import (
    ON_A_PIXEL,
    Obstacle,
    Rewrite,
    Role,
    is_pointwise,
    role_of,
)

ZEROS_NEEDED = 2 / 3
"""More than this share of all weights of the 1x1 convolutions together must be zero."""

Roles = Mapping[int, Role | Obstacle]


@dataclass(frozen=True, slots=True)
class Eligibility:
    """What one graph is to the sparse kernels.

    Attributes:
        operators: Those that could run in the other order of axes, by index. Networks have
            one such part in practice; where they have more, each has to be whole.
        pointwise: The 1x1 convolutions among them: where zeros are skipped.
        zeros_ratio: Share of zeros of their weights together; 0 where there are none.
        obstacles: Why the part is not switched as it is.
    """

    operators: tuple[int, ...]
    pointwise: tuple[int, ...]
    zeros_ratio: float
    obstacles: tuple[Obstacle, ...]

    @property
    def is_possible(self) -> bool:
        """Whether zeros are all that may be missing."""
        return bool(self.pointwise) and not self.obstacles

    @property
    def is_eligible(self) -> bool:
        """Whether the sparse kernels would run, on a processor that has them switched on."""
        return self.is_possible and self.zeros_ratio > ZEROS_NEEDED


def assess(graph: Graph) -> Eligibility:
    """Look for the part of a graph that the sparse kernels could take."""
    roles = {each.index: role_of(graph, each) for each in graph.operators}
    pointwise = tuple(k for k in roles if is_pointwise(graph, graph.operators[k]))
    if not pointwise:
        refused = tuple(each for each in roles.values() if isinstance(each, Obstacle))
        return Eligibility((), (), 0.0, refused)
    part = tuple(k for k, role in roles.items() if isinstance(role, Role))
    held = [w for k in pointwise if (w := weights_of(graph, graph.operators[k])) is not None]
    zeros, size = sum(int((w == 0).sum()) for w in held), sum(w.size for w in held)
    found = {each.operator: each for k in part for each in _obstacles(graph, roles, k)}
    return Eligibility(part, pointwise, zeros / size, tuple(found.values()))


def may_go_wrong(graph: Graph) -> bool:
    """Whether a graph, stored sparsely, is known to give wrong results or not to load.

    LiteRT 1.2 to 2.1 compute nonsense for a convolution on a single pixel behind the part
    that the sparse kernels take; LiteRT 2.3 refuses the model. Seen only on processors on
    which sparse inference is switched on, so no test on an x86 with AVX would notice.
    """
    roles = (role_of(graph, each) for each in graph.operators)
    return any(isinstance(each, Obstacle) and each.reason == ON_A_PIXEL for each in roles)


def _obstacles(graph: Graph, roles: Roles, index: int) -> Iterator[Obstacle]:
    operator, role = graph.operators[index], roles[index]
    if role in {Role.BODY, Role.TAIL}:
        for tensor in graph.computed(operator):
            yield from _bad_source(graph, roles, operator, tensor)
    for tensor in operator.outputs:
        users = [(user, roles[user]) for user in graph.users(tensor)]
        if role is Role.TAIL:
            yield from _classifiers(each for _, each in users)
            continue
        if role is Role.PAD:
            continue
        if tensor in graph.outputs:
            yield Obstacle(index, operator.kind, "its output leaves the network")
        for user, each in users:
            if isinstance(each, Obstacle):
                yield each
            elif each is Role.HEAD:
                yield Obstacle(user, graph.operators[user].kind, "a second stem inside")


def _classifiers(roles: Iterable[Role | Obstacle]) -> Iterator[Obstacle]:
    for role in roles:
        if isinstance(role, Obstacle) and role.rewrite is Rewrite.CLASSIFIER_TO_DENSE:
            yield role


def _bad_source(
    graph: Graph, roles: Roles, operator: Operator, tensor: int
) -> Iterator[Obstacle]:
    """Look at what makes the input of an operator, through a PAD."""
    maker = graph.maker(tensor)
    if maker is not None and roles[maker.index] is Role.PAD:
        maker = graph.maker(maker.inputs[0])
    if maker is None:
        yield Obstacle(operator.index, operator.kind, "reads the network's input, not a stem")
        return
    role = roles[maker.index]
    if isinstance(role, Obstacle):
        yield role
