"""Pictures and other files of the input, output and temp folders: looking at them and bringing them in."""

from __future__ import annotations

import argparse
import io
import json
import mimetypes
import os
from typing import Callable, Dict, Optional, Tuple

import folder_paths
from server import PromptServer
from stand_in import png
from stand_in.http import Request, Response, file_response, json_response
from stand_in.multipart import Field, form_of
from stand_in.routing import RouteTable

# What a browser would run as part of this site is sent as something to download.
_NEVER_SHOWN = {"text/html", "text/html-sandboxed", "application/xhtml+xml", "text/javascript", "text/css"}


def add_routes(routes: RouteTable, _server: PromptServer, _arguments: argparse.Namespace) -> None:
    @routes.get("/view")
    async def view(request: Request) -> Response:
        refusal, path = _asked_file(request.query)
        if refusal is not None:
            return Response(status=refusal)
        disposition = {"Content-Disposition": f'filename="{os.path.basename(path)}"'}
        if "preview" in request.query:
            body, content_type = _preview(path, request.query["preview"])
            return Response(body, 200, content_type, disposition)
        channel = request.query.get("channel", "rgba")
        if channel in ("rgb", "a"):
            return Response(_one_channel(path, channel), 200, "image/png", disposition)
        content_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
        if content_type.split(";")[0] in _NEVER_SHOWN:
            content_type = "application/octet-stream"
        return file_response(request, path, {**disposition, "Content-Type": content_type})

    @routes.post("/upload/image")
    async def upload_image(request: Request) -> Response:
        return _receive(form_of(request), lambda image, _form: image.content)

    @routes.post("/upload/mask")
    async def upload_mask(request: Request) -> Response:
        return _receive(form_of(request), _with_mask)


def _asked_file(query: Dict[str, str]) -> Tuple[Optional[int], str]:
    """The status to refuse with, or None and the file's path."""
    filename, folder = folder_paths.annotated_filepath(query.get("filename", ""))
    if "filename" not in query:
        return 404, ""
    if not filename or filename.startswith("/") or ".." in filename:
        return 400, ""
    folder = folder or folder_paths.get_directory_by_type(query.get("type", "output"))
    if folder is None:
        return 400, ""
    subfolder = os.path.join(folder, query.get("subfolder", ""))
    if not folder_paths.is_within(folder, subfolder):
        return 403, ""
    path = os.path.join(subfolder, os.path.basename(filename))
    return (None, path) if os.path.isfile(path) else (404, "")


def _preview(path: str, wanted: str) -> Tuple[bytes, str]:
    """The picture as WebP or JPEG, made with Pillow. Where that is not installed, the file as it is."""
    kind, *_, quality = f"{wanted};90".split(";")[:2]
    kind = kind if kind in ("webp", "jpeg") else "webp"
    try:
        from PIL import Image
    except ImportError:
        with open(path, "rb") as file:
            return file.read(), mimetypes.guess_type(path)[0] or "application/octet-stream"
    buffer = io.BytesIO()
    with Image.open(path) as picture:
        shown = picture if kind == "webp" and picture.mode in ("RGB", "RGBA") else picture.convert("RGB")
        shown.save(buffer, format=kind, quality=int(quality) if quality.isdigit() else 90)
    return buffer.getvalue(), f"image/{kind}"


def _one_channel(path: str, channel: str) -> bytes:
    with open(path, "rb") as file:
        pixels = png.decode(file.read())
    count = pixels.width * pixels.height
    if channel == "rgb":
        return png.encode(png.Pixels(pixels.width, pixels.height, 3, pixels.rgb()), {})
    black = png.Pixels(pixels.width, pixels.height, 3, bytes(3 * count))
    return png.encode(black.with_alpha(pixels.alpha() or b"\xff" * count), {})


def _receive(form: Dict[str, Field], content_of: Callable[[Field, Dict[str, Field]], bytes]) -> Response:
    """Saves what was uploaded; under another name when there is another file of its name already."""
    image = form.get("image")
    kind = form["type"].text() if "type" in form else "input"
    kind = kind if kind in ("input", "temp", "output") else "input"
    if image is None or not image.filename:
        return Response(status=400)
    subfolder = form["subfolder"].text() if "subfolder" in form else ""
    upload_folder = os.path.abspath(folder_paths.get_directory_by_type(kind) or "")
    folder = os.path.abspath(os.path.join(upload_folder, os.path.normpath(subfolder)))
    filename = image.filename
    if not folder_paths.is_within(upload_folder, os.path.join(folder, filename)):
        return Response(status=400)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, filename)
    if "overwrite" not in form or form["overwrite"].text() not in ("true", "1"):
        stem, extension = os.path.splitext(filename)
        number = 1
        while os.path.exists(path) and not _has_content(path, image.content):
            filename = f"{stem} ({number}){extension}"
            path = os.path.join(folder, filename)
            number += 1
    with open(path, "wb") as file:
        file.write(content_of(image, form))
    return json_response({"name": filename, "subfolder": subfolder, "type": kind})


def _has_content(path: str, content: bytes) -> bool:
    with open(path, "rb") as file:
        return file.read() == content


def _with_mask(mask: Field, form: Dict[str, Field]) -> bytes:
    """The picture that the mask was painted on, transparent where the mask is."""
    reference = json.loads(form["original_ref"].text())
    refusal, path = _asked_file({"type": "output", **{name: str(value) for name, value in reference.items()}})
    if refusal is not None:
        raise FileNotFoundError(f"there is no picture {reference} that the mask could belong to")
    with open(path, "rb") as file:
        original = png.decode(file.read())
    alpha = png.decode(mask.content).alpha()
    if alpha is None or len(alpha) != original.width * original.height:
        raise ValueError("the mask has no alpha channel of its picture's size")
    return png.encode(original.with_alpha(alpha), {})
