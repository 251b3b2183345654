"""Forms with files, as browsers upload them (RFC 7578)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, Optional
from urllib.parse import unquote

from stand_in.http import Request


@dataclass(frozen=True)
class Field:
    # None for a field that is no file.
    filename: Optional[str]
    content: bytes

    def text(self) -> str:
        return self.content.decode()


def form_of(request: Request) -> Dict[str, Field]:
    """The fields of a posted form; of several with one name the first. Raises ValueError for another sort of body."""
    boundary = re.search(r'boundary="?([^";]+)"?', request.headers.get("content-type", ""))
    if boundary is None:
        raise ValueError("the body is no multipart/form-data")
    delimiter = b"\r\n--" + boundary.group(1).encode()
    fields: Dict[str, Field] = {}
    # The first delimiter has no line break before it; what follows the last one, `--`, is no part.
    for part in (b"\r\n" + request.body).split(delimiter)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        disposition = _disposition(head.decode("utf-8", "replace"))
        name = _parameter(disposition, "name")
        if name is not None:
            fields.setdefault(name, Field(_parameter(disposition, "filename"), content))
    return fields


def _disposition(head: str) -> str:
    lines = [line for line in head.split("\r\n") if line.lower().startswith("content-disposition:")]
    return lines[0] if lines else ""


def _parameter(disposition: str, name: str) -> Optional[str]:
    encoded = re.search(rf"[;\s]{name}\*=utf-8''([^;]+)", disposition, re.IGNORECASE)
    if encoded:
        return unquote(encoded.group(1))
    quoted = re.search(rf'[;\s]{name}="((?:[^"\\]|\\.)*)"', disposition)
    return unquote(re.sub(r"\\(.)", r"\1", quoted.group(1))) if quoted else None
