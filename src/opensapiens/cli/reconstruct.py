"""`opensapiens reconstruct`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro


def reconstruct(
    image: Annotated[Path, tyro.conf.Positional],
    model: Annotated[Path, tyro.conf.arg(metavar="FOLDER")],
    mask_ratio: tuple[float, ...] = (0.75, 0.95),
    output: Path = Path("reconstruction.png"),
    device: str = "cpu",
    seed: int = 0,
) -> int:
    """Hide most of an image and let a pretrained model reconstruct it.

    $ opensapiens reconstruct photo.jpg --model runs/pretrain/model --mask-ratio 0.95

    Draws the image, what the model was shown and its reconstruction, once for each mask ratio. The model must have been
    pretrained with this package: the decoders of the published models were never released.

    Args:
        image: a picture; it is resized to the model's square input.
        model: the folder that `opensapiens train pretrain` wrote.
        mask_ratio: shares of the patches to hide, 0 to 1.
        output: the picture to write.
        device: "cpu", "cuda", "mps".
        seed: decides which patches are hidden.
    """
    from PIL import Image

    from opensapiens.checkpoints.model_folder import load_masked_autoencoder
    from opensapiens.storage.files import written
    from opensapiens.storage.folders import check_output
    from opensapiens.storage.pictures import read_image
    from opensapiens.tasks.masked_pretraining import draw_reconstructions
    from opensapiens.tasks.masked_pretraining import reconstruct as reconstruct_image

    check_output(output, [image, model])
    network, description = load_masked_autoencoder(model, device)
    photo = read_image(image)
    square = description.preprocessing.view(None, photo.shape[:2]).pixels(photo)
    preprocessing = description.preprocessing
    reconstructions = [[reconstruct_image(network, square, preprocessing, ratio, seed)] for ratio in mask_ratio]
    drawn = Image.fromarray(draw_reconstructions([square], reconstructions, height=min(square.shape[0], 512)))
    with written(output) as temporary:
        drawn.save(temporary, Image.registered_extensions().get(output.suffix.lower(), "PNG"))
    print(f"drawn: {output}")
    return 0
