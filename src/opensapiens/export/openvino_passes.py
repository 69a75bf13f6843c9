"""What is changed in an OpenVINO model before it is written: quicker norms, and 8-bit products where asked for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from torch import Tensor

from opensapiens.export.libraries import installed

EXACT = {"INFERENCE_PRECISION_HINT": "f32"}
"""Without this OpenVINO computes in bfloat16 wherever the processor has units for it."""

IN_8_BITS = ("MatMul", "Convolution")
"""Operations that are computed in 8 bits; the first axis of their weights are the output channels."""


def use_instance_norm(model: Any) -> None:
    """Replace group norms of one channel each, without scale and offset, by the same over rows and columns, in place.

    OpenVINO computes these in the layout of the convolutions around them, with the activation in the same pass; the
    others it surrounds with two reorderings of the whole map.
    """
    opset = installed("openvino.opset13")
    for node in model.get_ordered_ops():
        if node.get_type_name() != "GroupNormalization":
            continue
        scales = node.input_value(1)
        # Learned scales are constants; the ones that stand for none are made in the graph.
        learned = scales.get_node().get_type_name() == "Constant"
        if not learned and node.get_attributes()["num_groups"] == scales.get_shape()[0]:
            epsilon = float(node.get_attributes()["epsilon"])
            norm = opset.mvn(node.input_value(0), np.array([2, 3], np.int64), True, epsilon, "inside_sqrt")
            _replace(node, norm)
    model.validate_nodes_and_infer_types()


def split_transposed_convolutions(model: Any) -> None:
    """Replace transposed convolutions of 4x4 and stride 2 by four of 2x2, one for each parity of row and column of the
    output, in place: the same products.

    OpenVINO's transposed ones take only 8-bit ranges with zero in the middle, which after a SiLU leaves 7 of 8 bits.
    """
    opset = installed("openvino.opset13")
    for node in model.get_ordered_ops():
        if not _doubles_by_4x4(node):
            continue
        weights = node.input_value(1).get_node().get_data()  # (in, out, 4, 4)
        phases = []
        for row, column in product((0, 1), repeat=2):
            # An even row sees itself and the one before it through taps 1 and 3, an odd one itself and the next through
            # taps 2 and 0.
            taps = weights[:, :, ((3, 1), (2, 0))[row]][..., ((3, 1), (2, 0))[column]]
            before, after = [1 - row, 1 - column], [row, column]
            filters = opset.constant(np.ascontiguousarray(taps.transpose(1, 0, 2, 3)))
            phases.append(opset.convolution(node.input_value(0), filters, [1, 1], before, after, [1, 1]))
        _replace(node, opset.depth_to_space(opset.concat(phases, 1), "blocks_first", 2))
    model.validate_nodes_and_infer_types()


def _doubles_by_4x4(node: Any) -> bool:
    if node.get_type_name() != "ConvolutionBackpropData":
        return False
    filters, how = node.input_value(1), node.get_attributes()
    sides = [list(how[name]) for name in ("strides", "pads_begin", "pads_end")]
    constant = filters.get_node().get_type_name() == "Constant"
    return constant and [list(filters.get_shape())[2:], *sides] == [[4, 4], [2, 2], [1, 1], [1, 1]]


def use_8_bits(model: Any, images_B3HW: Tensor) -> None:
    """Let linear layers and convolutions multiply 8-bit integers, in place, all but the last two of a head.

    Weights are rounded to 255 levels for each output channel. What the layers take is rounded to 256 levels over the
    range that it has on these images, normalized float32 (B, 3, H, W). Attention, norms and activations stay as they
    are; so does a head's last layer before its output, whose rounding alone is a third of the part map's error.
    """
    opset = installed("openvino.opset13")
    taken_by: dict[tuple[str, int], list[Any]] = {}  # the four parts of a transposed convolution take the same
    for node in filter(_multiplies_constants, model.get_ordered_ops()):
        taken_by.setdefault(_place(node), []).append(node)
    for place in _ends_of_heads(model):
        taken_by.pop(place, None)
    ranges = _ranges(model, [layers[0] for layers in taken_by.values()], images_B3HW)
    for layers, (low, high) in zip(taken_by.values(), ranges, strict=True):
        axes = [1] * len(layers[0].get_input_partial_shape(0))
        limits = [opset.constant(np.full(axes, value, np.float32)) for value in _with_zero_on_a_level(low, high)]
        narrow = opset.fake_quantize(layers[0].input_value(0), *limits, *limits, 256).output(0)
        for node in layers:
            node.input(0).replace_source_output(narrow)
            weights = node.input_value(1).get_node().get_data()
            largest = np.abs(weights).max(axis=tuple(range(1, weights.ndim)), keepdims=True) + np.finfo(np.float32).tiny
            limits = [opset.constant(values.astype(np.float32)) for values in (-largest, largest)]
            rounded = opset.fake_quantize(node.input_value(1), *limits, *limits, 255)
            node.input(1).replace_source_output(rounded.output(0))
    model.validate_nodes_and_infer_types()


def _multiplies_constants(node: Any) -> bool:
    return (
        node.get_type_name() in IN_8_BITS
        and node.input_value(1).get_node().get_type_name() == "Constant"
        and node.input_value(0).get_node().get_type_name() != "Parameter"
    )


def _place(node: Any) -> tuple[str, int]:
    source = node.input_value(0)
    return source.get_node().get_friendly_name(), source.get_index()


def _ends_of_heads(model: Any) -> Iterator[tuple[str, int]]:
    """What the last two layers of each head take."""
    for result in model.get_results():
        node, met = result, 0
        while met < 2 and node.get_input_size():
            node = node.input_value(0).get_node()
            if _multiplies_constants(node):
                met += 1
                yield _place(node)


def _ranges(model: Any, layers: list[Any], images_B3HW: Tensor) -> list[tuple[float, float]]:
    """The least and the largest value of each layer's input on the images."""
    openvino, opset = installed("openvino"), installed("openvino.opset13")
    outputs = []
    for node in layers:
        axes = np.arange(len(node.get_input_partial_shape(0)))
        for reduce in (opset.reduce_min, opset.reduce_max):
            outputs.append(reduce(node.input_value(0), axes, False).output(0))
    watching = openvino.Model(outputs, model.get_parameters())
    given = {"images": images_B3HW.numpy()}
    for node in model.get_parameters():  # no layer sees what comes beside the images, but it has to be given
        if node.get_friendly_name() not in given:
            sides = [len(images_B3HW), *(axis.get_length() for axis in list(node.get_output_partial_shape(0))[1:])]
            given[node.get_friendly_name()] = np.zeros(sides, np.float32)
    found = openvino.Core().compile_model(watching, "CPU", EXACT)(given)
    values = [float(found[index]) for index in range(len(outputs))]
    return list(zip(values[::2], values[1::2], strict=True))


def _with_zero_on_a_level(low: float, high: float) -> tuple[float, float]:
    """A range of 256 levels that holds the given one and has a level at zero."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = max((high - low) / 255, float(np.finfo(np.float32).tiny))
    zero = round(-low / step)
    return -zero * step, (255 - zero) * step


def _replace(node: Any, other: Any) -> None:
    for target in list(node.output(0).get_target_inputs()):
        target.replace_source_output(other.output(0))
