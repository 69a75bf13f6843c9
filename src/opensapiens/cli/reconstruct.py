"""`opensapiens reconstruct`: what a pretrained masked autoencoder makes of the few patches it is shown."""

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
    """Hide most of an image and let a pretrained model paint it again.

    $ opensapiens reconstruct photo.jpg --model runs/pretrain/model --mask-ratio 0.95

    Draws the image, what the model was shown and what it made of that, once for each mask ratio. The model must have
    been pretrained here: the decoders of the published ones were never released.

    Args:
        image: a picture; it is squashed to the model's square.
        model: the folder that `opensapiens train pretrain` wrote.
        mask_ratio: shares of the patches to hide, 0-1.
        output: the picture to write.
        device: "cpu", "cuda", "mps".
        seed: decides which patches are hidden.
    """
    import numpy as np
    from PIL import Image

    from opensapiens.checkpoints.model_folder import load_masked_autoencoder
    from opensapiens.data.reading import read_image
    from opensapiens.data.sample import Sample
    from opensapiens.data.square_crop import square_crop
    from opensapiens.drawing.reconstruction import draw_reconstructions
    from opensapiens.storage.files import written
    from opensapiens.storage.folders import check_output
    from opensapiens.tasks.masked_pretraining.reconstruct import reconstruct as make

    check_output(output, [image, model])
    network, description = load_masked_autoencoder(model, device)
    preprocessing = description.preprocessing
    height, width = description.vit.image_size
    square = square_crop(Sample(read_image(image)), (height, width), np.random.default_rng(seed), None).image
    made = [[make(network, square, preprocessing["mean"], preprocessing["std"], ratio, seed)] for ratio in mask_ratio]
    drawn = Image.fromarray(draw_reconstructions([square], made, height=min(height, 512)))
    with written(output) as temporary:
        drawn.save(temporary, Image.registered_extensions().get(output.suffix.lower(), "PNG"))
    print(f"drawn: {output}")
    return 0
