"""Pictures on their way between nodes.

ComfyUI's `IMAGE` is a torch tensor of shape [batch, height, width, channel] with floats from 0 to 1. Here it is an
`ImageBatch`: a row of `Picture`s of one size which shows itself to numpy as such an array, so that a plugin that
starts with `numpy.asarray(image)` runs here and there. What plugins return may be an `ImageBatch`, a `Picture`, a
Pillow image, a numpy array, a torch tensor, a list of these, or nested lists of numbers from 0 to 1 of the shape
[batch, height, width, channel]. None of those libraries is imported here: their objects are known by what they can do.
"""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Sequence, Tuple

_BYTE_ORDER = "<" if sys.byteorder == "little" else ">"
_FLOAT_OF_BYTE = [byte / 255 for byte in range(256)]


@dataclass(frozen=True)
class Picture:
    """One picture: rows from top to bottom, three bytes (red, green, blue) a pixel."""

    width: int
    height: int
    rgb: bytes

    def __post_init__(self) -> None:
        if len(self.rgb) != 3 * self.width * self.height:
            raise ValueError(f"{self.width} x {self.height} pixels are not {len(self.rgb)} bytes")

    @property
    def __array_interface__(self) -> Dict[str, Any]:
        return _array_interface((self.height, self.width, 3), [self])


class ImageBatch(Sequence):
    """Pictures of one size; `shape` and numpy's array interface are those of ComfyUI's tensor."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        if not pictures or len({(picture.width, picture.height) for picture in pictures}) != 1:
            raise ValueError("a batch is one picture or more, all of one size")
        self.pictures = list(pictures)

    @property
    def shape(self) -> Tuple[int, int, int, int]:
        return len(self.pictures), self.pictures[0].height, self.pictures[0].width, 3

    @property
    def __array_interface__(self) -> Dict[str, Any]:
        return _array_interface(self.shape, self.pictures)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: Any) -> Any:
        return ImageBatch(self.pictures[index]) if isinstance(index, slice) else self.pictures[index]

    def __iter__(self) -> Iterator[Picture]:
        return iter(self.pictures)


def pictures_of(image: Any) -> List[Picture]:
    """The pictures in whatever a node returned as an `IMAGE`; raises TypeError for what is none."""
    if isinstance(image, Picture):
        return [image]
    if _is_rows_of_numbers(image):
        return [_picture_of_rows(image)]
    if isinstance(image, (ImageBatch, list, tuple)):
        return [picture for part in image for picture in pictures_of(part)]
    if hasattr(image, "convert") and hasattr(image, "tobytes"):
        width, height = image.size
        return [Picture(width, height, image.convert("RGB").tobytes())]
    if hasattr(image, "detach"):
        image = image.detach().cpu().numpy()
    if hasattr(image, "shape") and hasattr(image, "clip"):
        return _pictures_of_array(image)
    raise TypeError(f"{type(image).__name__} is no image: give an array of shape [batch, height, width, channel]")


def _array_interface(shape: Tuple[int, ...], pictures: Sequence[Picture]) -> Dict[str, Any]:
    """https://numpy.org/doc/stable/reference/arrays.interface.html; numpy reads it without a copy of its own."""
    floats = array("f", (_FLOAT_OF_BYTE[byte] for picture in pictures for byte in picture.rgb))
    return {"version": 3, "shape": shape, "typestr": f"{_BYTE_ORDER}f4", "data": floats.tobytes()}


def _is_rows_of_numbers(image: Any) -> bool:
    """Whether it is one picture as lists: rows of pixels of channels."""
    for _ in range(3):
        if not isinstance(image, (list, tuple)) or not image:
            return False
        image = image[0]
    return isinstance(image, (int, float))


def _picture_of_rows(rows: Any) -> Picture:
    pixels = [pixel * 3 if len(pixel) == 1 else pixel[:3] for row in rows for pixel in row]
    levels = bytes(min(255, max(0, int(value * 255))) for pixel in pixels for value in pixel)
    return Picture(len(rows[0]), len(rows), levels)


def _pictures_of_array(values: Any) -> List[Picture]:
    if len(values.shape) == 4:
        return [picture for part in values for picture in _pictures_of_array(part)]
    if len(values.shape) != 3 or values.shape[2] not in (1, 3, 4):
        raise TypeError(f"an array of shape {tuple(values.shape)} is no image")
    height, width, channels = values.shape
    # Rounded down, as ComfyUI's own conversion does.
    levels = (values[:, :, :3] * 255.0).clip(0, 255).astype("uint8")
    if channels == 1:
        levels = levels.repeat(3, axis=2)
    return [Picture(int(width), int(height), levels.tobytes())]
