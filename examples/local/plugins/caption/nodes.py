"""Drawing with Pillow, on pictures as ComfyUI passes them: [batch, height, width, channel] from 0 to 1."""

from __future__ import annotations

import time
from typing import Any, Dict, Tuple

import comfy.utils
import numpy as np
from PIL import Image, ImageDraw, ImageFont


class CaptionImage:
    """Writes a text near the lower edge of every picture of a batch."""

    CATEGORY = "image/example"
    DESCRIPTION = "Writes a text near the lower edge."
    FUNCTION = "write"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> Dict[str, Any]:
        return {
            "required": {
                "image": ("IMAGE",),
                "text": ("STRING", {"default": "Hello", "multiline": True}),
                "size": ("INT", {"default": 24, "min": 6, "max": 512, "tooltip": "Height of the letters in pixels."}),
                "seconds": (
                    "FLOAT",
                    {"default": 0.0, "min": 0.0, "max": 3600.0, "step": 0.1, "tooltip": "How long writing takes."},
                ),
            }
        }

    def write(self, image: Any, text: str, size: int, seconds: float) -> Tuple[Any]:
        # On a GPU a tensor must come to the host first.
        pixels = np.asarray(image.cpu() if hasattr(image, "cpu") else image)
        written = np.stack([self._write_on(picture, text, size) for picture in pixels])
        take_time(seconds)
        return (as_image(written),)

    def _write_on(self, pixels: np.ndarray, text: str, size: int) -> np.ndarray:
        picture = Image.fromarray((pixels[:, :, :3] * 255).clip(0, 255).astype(np.uint8))
        place = (picture.width / 2, picture.height - size / 2)
        font = ImageFont.load_default(size)
        ImageDraw.Draw(picture).text(
            place, text, fill="white", stroke_fill="black", stroke_width=max(1, size // 12), font=font, anchor="md"
        )
        return np.asarray(picture).astype(np.float32) / 255


def as_image(pixels: np.ndarray) -> Any:
    """What ComfyUI passes between nodes: a torch tensor, or where there is no torch the array itself."""
    try:
        import torch
    except ImportError:
        return pixels
    return torch.from_numpy(pixels)


def take_time(seconds: float) -> None:
    """Works in steps of about 0.1 s, each reported: that is where ComfyUI can interrupt a node."""
    steps = max(1, round(seconds * 10))
    progress = comfy.utils.ProgressBar(steps)
    for _ in range(steps):
        time.sleep(seconds / steps)
        progress.update(1)


NODE_CLASS_MAPPINGS = {"CaptionImage": CaptionImage}
NODE_DISPLAY_NAME_MAPPINGS = {"CaptionImage": "Caption"}
