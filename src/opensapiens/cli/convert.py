"""`opensapiens convert`."""

import sys
from pathlib import Path
from typing import Annotated

import tyro


def convert(
    source: Annotated[Path, tyro.conf.Positional],
    target: Annotated[Path, tyro.conf.Positional],
    task: str | None = None,
) -> int:
    """Turn a published file of Sapiens or Sapiens2 into a model folder, or a model folder back into such a file.

    Every published form is read: .pth (flat, with meta and state_dict, or a training checkpoint), TorchScript .pt2 and
    exported bfloat16 .pt2; also .safetensors with the same tensor names. Size and labels are read from the tensors, the
    task of a dense head from the file's published name, of Sapiens2 from the head's own. No code in the file is run.
    Every tensor keeps its type and its bytes, in both directions.

    $ opensapiens convert sapiens_1b_goliath_best_goliath_AP_639.pth models/pose
    $ opensapiens predict photo.jpg --model models/pose --output out
    $ opensapiens convert models/pose pose.pth

    Args:
        source: a published file, or a model folder.
        target: the folder or the file to write.
        task: of the head, where the file does not have its published name: pose, segmentation, depth or normals.
    """
    from opensapiens.checkpoints.catalog import summarize
    from opensapiens.checkpoints.convert import convert as convert_weights

    description = convert_weights(source, target, task=task)
    summary = summarize(description.name, description)
    tasks = ", ".join(summary.tasks) or "features"
    print(f"{target}: {summary.name} ({tasks}, {summary.parameters / 1e6:.1f} M parameters)")
    if description.license:
        print(f"The license of these weights is {description.license}.", file=sys.stderr)
    return 0
