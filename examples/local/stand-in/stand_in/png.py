"""PNG files, written and read with nothing but zlib: 8 bits a channel, grey, RGB or RGBA, not interlaced."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Tuple

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS_OF_COLOUR_TYPE = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_COLOUR_TYPE_OF_CHANNELS = {1: 0, 2: 4, 3: 2, 4: 6}
_PALETTE_COLOUR_TYPE = 3


class UnreadablePng(ValueError):
    """The bytes are no PNG, or one of a sort that this module does not read."""


@dataclass(frozen=True)
class Pixels:
    """Rows from top to bottom, each pixel `channels` bytes: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA."""

    width: int
    height: int
    channels: int
    data: bytes

    def rgb(self) -> bytes:
        """The pixels without alpha, three bytes each."""
        if self.channels == 3:
            return self.data
        grey = self.channels < 3
        planes = [self.data[0 if grey else index :: self.channels] for index in range(3)]
        return _interleave(planes)

    def alpha(self) -> Optional[bytes]:
        return self.data[self.channels - 1 :: self.channels] if self.channels in (2, 4) else None

    def with_alpha(self, alpha: bytes) -> "Pixels":
        rgb = self.rgb()
        return Pixels(self.width, self.height, 4, _interleave([rgb[0::3], rgb[1::3], rgb[2::3], alpha]))


def encode(pixels: Pixels, texts: Mapping[str, str]) -> bytes:
    """A PNG file with `texts` as its text chunks."""
    stride = pixels.width * pixels.channels
    rows = b"".join(
        b"\x00" + pixels.data[row * stride : (row + 1) * stride] for row in range(pixels.height)
    )  # filter 0: each row as it is
    colour_type = _COLOUR_TYPE_OF_CHANNELS[pixels.channels]
    header = struct.pack(">IIBBBBB", pixels.width, pixels.height, 8, colour_type, 0, 0, 0)
    text_chunks = [
        _chunk(b"tEXt", key.encode("latin-1") + b"\x00" + text.encode("latin-1", "replace"))
        for key, text in texts.items()
    ]
    return b"".join(
        [
            _SIGNATURE,
            _chunk(b"IHDR", header),
            *text_chunks,
            _chunk(b"IDAT", zlib.compress(rows, 4)),
            _chunk(b"IEND", b""),
        ]
    )


def decode(file: bytes) -> Pixels:
    """Reads a PNG file; raises `UnreadablePng` for anything that it does not read."""
    chunks = _chunks(file)
    width, height, depth, colour_type, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    if depth != 8 or interlaced or colour_type not in _CHANNELS_OF_COLOUR_TYPE:
        raise UnreadablePng("only 8 bits a channel, not interlaced, can be read")
    channels = _CHANNELS_OF_COLOUR_TYPE[colour_type]
    data = _unfilter(zlib.decompress(chunks[b"IDAT"]), width * channels, height, channels)
    if colour_type == _PALETTE_COLOUR_TYPE:
        palette = chunks[b"PLTE"]
        return Pixels(width, height, 3, b"".join(palette[3 * index : 3 * index + 3] for index in data))
    return Pixels(width, height, channels, data)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _chunks(file: bytes) -> Dict[bytes, bytes]:
    """Chunks by kind; those of one kind joined, as the parts of the picture's data are meant to be."""
    if not file.startswith(_SIGNATURE):
        raise UnreadablePng("no PNG signature")
    chunks: Dict[bytes, bytes] = {}
    offset = len(_SIGNATURE)
    while offset + 12 <= len(file):
        length, kind = struct.unpack_from(">I4s", file, offset)
        chunks[kind] = chunks.get(kind, b"") + file[offset + 8 : offset + 8 + length]
        offset += 12 + length
    if b"IHDR" not in chunks or b"IDAT" not in chunks:
        raise UnreadablePng("no picture in it")
    return chunks


def _unfilter(filtered: bytes, stride: int, height: int, step: int) -> bytes:
    """Undoes the five row filters of the format (https://www.w3.org/TR/png-3/#9Filters)."""
    above = bytearray(stride)
    rows: List[bytes] = []
    for row in range(height):
        start = row * (stride + 1)
        kind, line = filtered[start], bytearray(filtered[start + 1 : start + 1 + stride])
        if kind == 1:
            for index in range(step, stride):
                line[index] = (line[index] + line[index - step]) & 255
        elif kind == 2:
            for index in range(stride):
                line[index] = (line[index] + above[index]) & 255
        elif kind in (3, 4):
            for index in range(stride):
                left, corner = (line[index - step], above[index - step]) if index >= step else (0, 0)
                predicted = (left + above[index]) // 2 if kind == 3 else _paeth(left, above[index], corner)
                line[index] = (line[index] + predicted) & 255
        rows.append(bytes(line))
        above = line
    return b"".join(rows)


def _paeth(left: int, above: int, corner: int) -> int:
    estimate = left + above - corner
    distances: Tuple[Tuple[int, int], ...] = (
        (abs(estimate - left), left),
        (abs(estimate - above), above),
        (abs(estimate - corner), corner),
    )
    return min(distances, key=lambda candidate: candidate[0])[1]


def _interleave(planes: List[bytes]) -> bytes:
    pixels = bytearray(len(planes) * len(planes[0]))
    for index, plane in enumerate(planes):
        pixels[index :: len(planes)] = plane
    return bytes(pixels)
