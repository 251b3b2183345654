"""A node that draws a gradient between two colours, which the seed chooses."""

from __future__ import annotations

import time
from typing import Any, Dict, Tuple

import comfy.utils
import numpy as np


def as_image(pixels: np.ndarray) -> Any:
    """What ComfyUI passes between nodes: a torch tensor, or where there is no torch the array itself."""
    try:
        import torch
    except ImportError:
        return pixels
    return torch.from_numpy(pixels)


class GradientImage:
    """Draws from the left colour to the right one, a column at a time when it is to take its time."""

    CATEGORY = "image/example"
    DESCRIPTION = "Draws a gradient between two colours, which the seed chooses."
    FUNCTION = "draw"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> Dict[str, Any]:
        side = {"default": 256, "min": 8, "max": 4096}
        return {
            "required": {
                "width": ("INT", side),
                "height": ("INT", side),
                "seed": ("INT", {"default": 0, "min": 0, "max": 2**32 - 1, "control_after_generate": True}),
                "seconds": (
                    "FLOAT",
                    {"default": 0.0, "min": 0.0, "max": 3600.0, "step": 0.1, "tooltip": "How long drawing takes."},
                ),
            }
        }

    def draw(self, width: int, height: int, seed: int, seconds: float) -> Tuple[Any]:
        left, right = np.random.default_rng(seed).random((2, 3), dtype=np.float32)
        across = np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
        row = left * (1 - across) + right * across
        take_time(seconds)
        return (as_image(np.repeat(row, height, axis=0)[None].astype(np.float32)),)


def take_time(seconds: float) -> None:
    """Works in steps of about 0.1 s, each reported: that is where ComfyUI can interrupt a node."""
    steps = max(1, round(seconds * 10))
    progress = comfy.utils.ProgressBar(steps)
    for _ in range(steps):
        time.sleep(seconds / steps)
        progress.update(1)


NODE_CLASS_MAPPINGS = {"GradientImage": GradientImage}
NODE_DISPLAY_NAME_MAPPINGS = {"GradientImage": "Gradient"}
