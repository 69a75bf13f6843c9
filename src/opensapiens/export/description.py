"""What an exported file says of itself: all that is needed to use it without this package.

ONNX has no standard for this (its Image.* keys are of raw pixels), so it is done as others do it: MMDeploy writes how
an input is made and an output read into a JSON file beside the model, Ultralytics puts such values into the model's
metadata. Here one JSON is in both places. Names and numbers are for programs, "how" is for people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opensapiens.backbones.nano import PLACE
from opensapiens.checkpoints.model_description import HeadDescription, ModelDescription
from opensapiens.geometry.heatmaps import BLUR_KERNEL, BLUR_SIGMA, LOG_RANGE
from opensapiens.geometry.view import Preprocessing
from opensapiens.tasks.albedo import AlbedoTask
from opensapiens.tasks.depth import DepthTask
from opensapiens.tasks.matting import MattingTask
from opensapiens.tasks.normals import NormalsTask
from opensapiens.tasks.pointmap import SMOOTHING_SIGMA, SMOOTHINGS, PointmapTask
from opensapiens.tasks.pose import PoseTask
from opensapiens.tasks.segmentation import SegmentationTask

KEY = "opensapiens"
"""Of the JSON: in the metadata_props of an ONNX file, the rt_info of an OpenVINO file, the extra files of a .pt2."""

Shapes = Mapping[str, Sequence[int | str]]

COORDINATES = "Points are x, y in pixels of the image, whole numbers at pixel centers. A box is x1, y1, x2, y2."
VIEWS = {
    "person_crop": [
        COORDINATES,
        "center = ((x1 + x2) / 2, (y1 + y2) / 2); size = box_padding * (x2 - x1, y2 - y1).",
        "If size[0] > aspect * size[1]: size[1] = size[0] / aspect; else size[0] = aspect * size[1].",
        "zoom = (width - 1, height - 1) / size. The image's point p is at zoom * (p - center + size / 2) in the input.",
        "Pixels are interpolated (cv2.warpAffine); outside the image they have the border color.",
    ],
    "squash": [
        COORDINATES,
        "The whole image is resized to width x height, whatever its aspect.",
        "zoom = (width, height) / image size. The image's point p is at zoom * (p + 0.5) - 0.5 in the input.",
    ],
    "zero_pad": [
        COORDINATES,
        "The whole image is resized to floor(image size * min(width / image width, height / image height)).",
        "It is put into the middle (corner = (input size - resized size) // 2), the rest is black.",
        "zoom = resized size / image size. The image's point p is at corner + zoom * (p + 0.5) - 0.5 in the input.",
    ],
    "letterbox": [
        COORDINATES,
        "The whole image is resized to round(image size * min(width / image width, height / image height)).",
        "It is put into the middle (corner = (input size - resized size) // 2), the rest has the border color.",
        "zoom = resized size / image size. The image's point p is at corner + zoom * (p + 0.5) - 0.5 in the input.",
    ],
}
TO_IMAGE = [
    "Resize the map bilinearly to the input's size (half-pixel centers: cv2.resize, align_corners=False).",
    "Its value at a point of the image is the bilinear one where the input shows that point.",
]
READING: dict[str, dict[str, Any]] = {
    PoseTask.name: {
        "is": "heatmaps, a channel for each point",
        "decode": {"method": "UDP with DARK", "blur_kernel": BLUR_KERNEL, "blur_sigma": BLUR_SIGMA,
                   "log_range": list(LOG_RANGE)},
        "how": [
            "The peak is the pixel with the largest value, and that value the score: about 0 to 1, no probability.",
            "Where it is not positive there is no peak, and the point means nothing.",
            "Blur the heatmap (Gaussian of blur_kernel pixels and blur_sigma, zeros outside the map), multiply it so "
            "that its largest value is the score again, clip it to log_range, and take the logarithm f.",
            "At the peak, with f repeated beyond the edges: dx = (f(1, 0) - f(-1, 0)) / 2, dxx = f(1, 0) - 2 f(0, 0) + "
            "f(-1, 0), dy and dyy likewise, dxy = (f(1, 1) - f(1, 0) - f(0, 1) + 2 f(0, 0) - f(-1, 0) - f(0, -1) + "
            "f(-1, -1)) / 2.",
            "point = peak - inverse([[dxx, dxy], [dxy, dyy]]) (dx, dy), in pixels of the map.",
            "In the image: center - size / 2 + size * point / (map width - 1, map height - 1).",
        ],
    },
    SegmentationTask.name: {
        "is": "logits, a channel for each class; class 0 is the background",
        "how": [*TO_IMAGE, "The class of a pixel is the channel with the largest value then."],
    },
    DepthTask.name: {
        "is": "relative depth of the person: small is near; no unit, a scale and offset of its own for each person",
        "channels": [DepthTask.name],
        "how": [*TO_IMAGE, "Keep it where there is a person, by the parts or a mask."],
    },
    NormalsTask.name: {
        "is": "surface normals, +x right, +y up, +z towards the camera",
        "channels": ["x", "y", "z"],
        "flip_negated": [0],
        "how": [*TO_IMAGE, "Divide by the length. Keep it where there is a person, by the parts or a mask."],
    },
    PointmapTask.name: {
        "is": "points in the frame of the camera, x right, y down, z forward, and a scale, the same at every pixel",
        "channels": ["x", "y", "z", "scale"],
        "flip_negated": [0],
        "how": [
            "Divide x, y and z by the scale: that is meters.",
            f"Where the image is larger than the input, first blur them {SMOOTHINGS} times (Gaussian of 3 pixels, "
            f"sigma {SMOOTHING_SIGMA}, mirrored at the edges), without the borders of the input.",
            *TO_IMAGE,
            "Keep it where there is a person, by the parts or a mask.",
        ],
    },
    MattingTask.name: {
        "is": "logits of a cut-out",
        "channels": ["red", "green", "blue", "alpha"],
        "how": [
            "sigmoid(x) is the foreground's color times alpha, and alpha, from 0 to 1.",
            *TO_IMAGE,
            "Before a background: color + (1 - alpha) * background.",
        ],
    },
    AlbedoTask.name: {
        "is": "albedo",
        "channels": ["red", "green", "blue"],
        "how": ["Clip to 0 to 1.", *TO_IMAGE, "Keep it where there is a person, by the parts or a mask."],
    },
}  # fmt: skip
BESIDE_IMAGES = {
    PLACE: [
        "The way from the middle of the image to that of the crop, right and down, in diagonals of the image:",
        "zoom * (center - ((image width - 1) / 2, (image height - 1) / 2)) / (sqrt(zoom[0] * zoom[1]) * d), where d is "
        "sqrt(image width ** 2 + image height ** 2).",
        "(0, 0) for a view of the whole image. Of a mirrored input it is (-place[0], place[1]).",
        "Points and parts do not depend on it, depth and normals do.",
    ]
}


def describe_file(description: ModelDescription, inputs: Shapes, outputs: Shapes) -> dict[str, Any]:
    """Everything about a file that holds the model, as JSON has it; inputs, outputs: name -> shape.

    A side is a number, or a name or formula ("batch", "16*rows") where it is free.
    """
    given = description.preprocessing
    return {
        "model": description.name,
        "license": description.license,
        "source": description.source,
        "inputs": {name: _input(name, list(shape), given) for name, shape in inputs.items()},
        "view": _view(given),
        "mirroring": {
            "average": given.flip_test,
            "how": [
                "Where average is true, run the input and its mirror image, and take the mean of both answers:",
                "flip the mirrored one's maps left to right, take its channels in the order of flip_indices (where "
                "there are any), and change the sign of the channels in flip_negated.",
            ],
        },
        "outputs": {
            name: _output(name, list(shape), description, description.heads[name]) for name, shape in outputs.items()
        },
    }


def _input(name: str, shape: list[int | str], given: Preprocessing) -> dict[str, Any]:
    about: dict[str, Any] = {"shape": shape, "type": "float32"}
    if name != "images":
        return about | {"how": BESIDE_IMAGES.get(name, ["As view_inputs of the model's own backbone computes it."])}
    return about | {
        "axes": ["batch", "channel", "row", "column"],
        "color_order": "RGB",
        "value_range": [0, 255],
        "mean": list(given.mean),
        "std": list(given.std),
        "how": ["(pixel - mean) / std, of pixels from 0 to 255, after what the view says."],
    }


def _view(given: Preprocessing) -> dict[str, Any]:
    height, width = given.input_size
    crop = {"aspect": width / height, "box_padding": given.box_padding} if given.takes_people else {}
    return {
        "resize": given.resize,
        "height": height,
        "width": width,
        **crop,
        "interpolation": given.interpolation,
        "border": [round(value) for value in given.mean] if given.resize == "letterbox" else [0, 0, 0],
        "how": VIEWS[given.resize],
    }


def _output(name: str, shape: list[int | str], model: ModelDescription, head: HeadDescription) -> dict[str, Any]:
    stride = model.backbone.feature_stride / 2 ** len(head.deconv_channels)
    about: dict[str, Any] = {
        "shape": shape,
        "type": "float32",
        "axes": ["batch", "channel", "row", "column"],
        "stride": int(stride) if stride >= 1 else stride,
        **READING.get(name, {"is": "an output of your own", "how": ["As decode of its task reads it."]}),
    }
    labels = head.label_set
    if labels is not None:
        about |= {"label_set": labels.name, "channels": list(labels.names)}
        about["flip_indices"] = labels.flip_indices.tolist()
    return about
