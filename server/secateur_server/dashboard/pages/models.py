"""The models: each ladder as a plot, its rungs and who uses them."""

from collections.abc import Mapping

from secateur_protocols.manifest import Ladder, Manifest
from secateur_server.dashboard import words
from secateur_server.dashboard.ladder_plot import Usage, plot, usage_of
from secateur_server.dashboard.layout import slot
from secateur_server.dashboard.markup import EMPTY, Child, Html, join, tag
from secateur_server.dashboard.page import Fragments, View
from secateur_server.dashboard.pages.parts import empty, facts, level_badge

LOOK_S = 2.0
"""How often the plots are drawn anew: medians over the fleet move slowly."""

SHORT_DIGEST = 12


class ModelsPage:
    """All models, or the one that the address names."""

    place = "models"

    def __init__(self, params: Mapping[str, str]) -> None:
        self._only = params.get("model")
        self.title = self._only or "Models"
        self._looked_s = 0.0
        self._seen: Fragments = {}

    def look(self, view: View) -> Fragments:
        """Draw the ladders."""
        if not 0 <= view.now_s - self._looked_s < LOOK_S:
            self._looked_s = view.now_s
            ladders = [
                ladder
                for name, ladder in sorted(view.fleet.ladders.items())
                if self._only in {None, name}
            ]
            drawn = join(
                _ladder(ladder, usage_of(view.fleet.rows(), ladder)) for ladder in ladders
            )
            self._seen = {"ladders": drawn or self._nothing()}
        return self._seen

    def frame(self, _view: View, seen: Fragments) -> Html:
        """Draw the heading."""
        return join((tag("h1", self.title), slot(seen, "ladders", class_="stack-of")))

    def _nothing(self) -> Html:
        name = self._only or "model"
        return empty(
            f"No ladder of {name} is announced."
            if self._only
            else "No model is published yet.",
            "Make one and publish it: ",
            tag("code", "secateur prune model.tflite --out ladder"),
            ", then ",
            tag("code", "secateur publish ladder"),
        )


def _ladder(ladder: Ladder, usage: Usage) -> Html:
    head = (
        "Level",
        "How it was pruned",
        "Accuracy",
        "Latency",
        "Size",
        "MACs",
        "Memory",
        "In use",
    )
    inputs = ", ".join(f"{each.dtype} {_shape(each.shape)}" for each in ladder.inputs)
    outputs = ", ".join(f"{each.dtype} {_shape(each.shape)}" for each in ladder.outputs)
    reference, accuracy = ladder.levels[0].latency, ladder.levels[0].accuracy
    about: list[tuple[str, Child]] = [
        ("version", ladder.version),
        ("input", inputs),
        ("output", outputs),
        ("measured with", f"{reference.engine}, {words.plural(reference.threads, 'thread')}"),
        ("measured on", reference.machine),
        ("accuracy is", f"{accuracy.metric} of {accuracy.samples} samples"),
    ]
    return tag(
        "section",
        tag("h2", ladder.model),
        tag("div", plot(ladder, usage), facts(about), class_="plot-and-facts"),
        tag(
            "div",
            tag(
                "table",
                tag(
                    "thead",
                    tag(
                        "tr",
                        *(
                            tag(
                                "th",
                                name,
                                scope="col",
                                class_="n" if name not in head[:2] else None,
                            )
                            for name in head
                        ),
                    ),
                ),
                tag("tbody", *(_rung(each, ladder, usage) for each in ladder.levels)),
            ),
            class_="wide",
        ),
        class_="card",
    )


def _shape(shape: tuple[int, ...]) -> str:
    return " \u00d7 ".join("?" if size < 0 else str(size) for size in shape)


def _rung(manifest: Manifest, ladder: Ladder, usage: Usage) -> Html:
    dense = ladder.levels[0]
    devices = sum(
        by_level[manifest.level].devices
        for by_level in usage.values()
        if manifest.level in by_level
    )
    accuracy = manifest.accuracy
    interval = EMPTY
    if accuracy.low is not None and accuracy.high is not None:
        interval = tag("small", f"{accuracy.low:.3f} to {accuracy.high:.3f}", class_="soft")
    ratio = manifest.macs / dense.macs if dense.macs and manifest.level else None
    address = f"/?level={manifest.level}&model={ladder.model}"
    return tag(
        "tr",
        tag("th", level_badge(manifest.level), scope="row"),
        tag("td", manifest.method, _details(manifest)),
        _number(f"{accuracy.value:.3f}", interval),
        _number(
            words.milliseconds(manifest.latency.p50_ms),
            tag("small", f"p95 {words.milliseconds(manifest.latency.p95_ms)}", class_="soft"),
        ),
        _number(words.size(manifest.size_bytes)),
        _number(
            words.amount(manifest.macs),
            tag("small", words.percent(ratio), class_="soft") if ratio is not None else EMPTY,
        ),
        _number(words.size(manifest.peak_memory_bytes)),
        _number(
            tag("a", words.plural(devices, "device"), href=address) if devices else words.DASH
        ),
    )


def _number(*content: Child) -> Html:
    return tag("td", *content, class_="n")


def _details(manifest: Manifest) -> Html:
    """Give the rest of the manifest, folded."""
    pairs: list[tuple[str, Child]] = [
        ("precision", str(manifest.precision)),
        ("encoding", str(manifest.encoding)),
        ("parameters", words.amount(manifest.parameters)),
        ("digest", tag("code", manifest.digest[:SHORT_DIGEST], title=manifest.digest)),
    ]
    if manifest.parent is not None:
        pairs.append(
            ("pruned from", tag("code", manifest.parent[:SHORT_DIGEST], title=manifest.parent))
        )
    if manifest.compressed_bytes is not None:
        pairs.append(("compressed", words.size(manifest.compressed_bytes)))
    if manifest.requires is not None:
        pairs.append(
            (
                "made for",
                ", ".join(manifest.requires.machines) or manifest.requires.engine or "any",
            )
        )
    golden = manifest.golden
    pairs.append(("golden inputs", f"{golden.count}, tolerance {golden.tolerance:.3g}"))
    said = join((tag("span", name, " ", value) for name, value in pairs), between=" \u00b7 ")
    return tag("div", said, class_="soft small manifest")
