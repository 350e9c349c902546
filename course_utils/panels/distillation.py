"""The panels of digits: what a teacher knows, students of many kinds, and what they cost."""

from __future__ import annotations

from course_utils import figures
from course_utils.data.images import SIDE
from course_utils.distillation import digits as d
from course_utils.distillation import soft_targets
from course_utils.live import Explorer, Shown, Slider

NAMES = [str(digit) for digit in range(d.CLASSES)]


def soft_label_panel() -> Explorer:
    """One handwritten digit, and what the teacher says about it at any temperature."""
    _, _, images, labels = d.digits()
    logits = d.teacher()(images).detach()  # (540, 10)

    def draw(*, image, temperature):
        chances, label = soft_targets(logits[image], temperature), int(labels[image])
        picture = figures.heatmap(images[image].view(SIDE, SIDE).numpy(), title=f"Image {image}: its label is {label}",
                                  x_title="pixel", y_title="pixel", z_range=(0, 1))  # fmt: skip
        picture["data"][0] |= {"colorscale": "Greys", "showscale": False}
        picture["layout"]["yaxis"] |= {"scaleanchor": "x"}
        bars = figures.bars(NAMES, chances.numpy(), title=f"What the teacher says at temperature {temperature:g}",
                            x_title="digit", y_title="probability", y_range=(0, 1), highlight=[label])  # fmt: skip
        first, second = chances.topk(2).indices.tolist()
        between = (-(chances * chances.clamp(min=1e-30).log()).sum()).exp().item()
        summary = (f"Most likely {first} ({chances[first]:.2g}), then {second} ({chances[second]:.2g}). It hesitates "
                   f"as if between {between:.1f} digits.")  # fmt: skip
        return Shown(figures=[picture, bars], summary=summary)

    return Explorer(draw, title="What a teacher says about a digit", controls={
        "image": (Slider(label="image", low=0, high=len(images) - 1, step=1, whole=True,
                         help="Which of the 540 test images. The teacher has not trained on them."), 3),
        "temperature": (Slider(label="temperature", low=0.5, high=20, log=True,
                               help="Divides the logits before the softmax."), 1.0),
    })  # fmt: skip
