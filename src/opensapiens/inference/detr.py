"""A person detector of a published class: a DETR loaded through transformers (extra "detect").

RT-DETR v2 (Lv et al., arXiv 2407.17140) and D-FINE (Peng et al., ICLR 2025) are Apache-2.0, code and weights, and
their Pillow image processor needs no torchvision. The RTMDet of the published demos needs a stack that no longer
installs.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from opensapiens.geometry.boxes import non_maximum_suppression
from opensapiens.inference.detection import DetectorError
from opensapiens.storage.hub import HubUnreachable, hub_folder

DEFAULT_DETECTOR = "PekingU/rtdetr_v2_r18vd"
DOWNLOAD = "81 MB"
"""Of its weights."""
FILES = ["*.json", "*.safetensors"]
PERSON = "person"


class DetrDetector:
    """People found by a DETR of transformers: RT-DETR, RT-DETR v2, D-FINE and their like, by name on the hub or from a
    folder."""

    def __init__(
        self,
        name: str | Path = DEFAULT_DETECTOR,
        threshold: float = 0.5,
        nms: float = 0.7,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """name: a repository on the Hugging Face hub, or a folder. threshold: the least score of a person. nms:
        intersection over union above which the lower-scored of two boxes is dropped; a DETR has few duplicates.

        Only safetensors weights are read, and no code that comes with them is run. Raises DetectorError for a model
        that cannot be loaded or has no class "person", ModuleNotFoundError without the extra.
        """
        self.name = str(name)
        transformers = _transformers()
        transformers.utils.logging.disable_progress_bar()  # which counts the tensors read
        try:
            folder = str(name if Path(name).is_dir() else hub_folder(str(name), FILES))
            self.processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
            network = transformers.AutoModelForObjectDetection.from_pretrained(
                folder, use_safetensors=True, trust_remote_code=False, dtype=dtype
            )
        except HubUnreachable as error:
            raise DetectorError(
                f"the detector {str(name)!r} is neither a folder nor in the Hugging Face cache of this machine, and "
                f"there is {error}. Without --detector, people are found by the detector inside this package"
            ) from error
        except (OSError, ValueError, ImportError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise DetectorError(f"no detector could be loaded from {str(name)!r}: {reason}") from error
        classes = {str(label).lower(): int(number) for number, label in network.config.id2label.items()}
        if PERSON not in classes:
            raise DetectorError(f"{name} has no class {PERSON!r}: it finds {', '.join(list(classes)[:10])}, …")
        self.network = network.to(device).eval()
        self.person = classes[PERSON]
        self.threshold, self.nms = threshold, nms

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (N, 4) float32 xyxy pixels within the H×W×3 uint8 image, and scores (N,), best first."""
        height, width = image.shape[:2]
        parameter = next(self.network.parameters())
        pixels = self.processor(images=image, return_tensors="pt", input_data_format="channels_last")["pixel_values"]
        with torch.inference_mode():
            outputs = self.network(pixel_values=pixels.to(parameter.device, parameter.dtype))
        for name in ("logits", "pred_boxes"):
            setattr(outputs, name, getattr(outputs, name).float())
        (detections,) = self.processor.post_process_object_detection(outputs, self.threshold, [(height, width)])
        is_person = detections["labels"] == self.person
        boxes = detections["boxes"][is_person].cpu().numpy().clip(0, [width, height, width, height]).astype(np.float32)
        scores = detections["scores"][is_person].cpu().numpy().astype(np.float32)
        has_area = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(axis=1)
        boxes, scores = boxes[has_area], scores[has_area]
        kept = non_maximum_suppression(boxes, scores, self.nms)
        return boxes[kept], scores[kept]


def _transformers() -> ModuleType:
    try:
        import transformers
    except ModuleNotFoundError as error:
        message = "this detector needs transformers: pip install opensapiens[detect]"
        raise ModuleNotFoundError(message, name="transformers") from error
    return transformers
