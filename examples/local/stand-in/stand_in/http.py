"""HTTP/1.1 as far as a ComfyUI server needs it: keep-alive, bodies with a length or in chunks, files in parts."""

from __future__ import annotations

import asyncio
import json
import mimetypes
import os
import re
import sys
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Awaitable, Callable, Dict, List, Mapping, Optional, Tuple
from urllib.parse import parse_qsl

_LARGEST_HEAD = 64 * 1024
_FILE_PART = 256 * 1024
# aiohttp's own value.
_LINGERING_SECONDS = 10
_SERVER = f"Python/{sys.version_info[0]}.{sys.version_info[1]} ComfyUI-stand-in"

# Python's own table says `text/javascript`, or what the system's table says.
mimetypes.add_type("application/javascript", ".js")


class BadRequest(Exception):
    """What came is not HTTP, or more than is accepted. The connection is closed after the answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass
class Request:
    method: str
    # As sent: percent-encoded, without the query.
    path: str
    query: Dict[str, str]
    # Names in lower case.
    headers: Dict[str, str]
    body: bytes
    remote: str
    match_info: Dict[str, str] = field(default_factory=dict)

    async def json(self) -> Any:
        return json.loads(self.body)

    async def text(self) -> str:
        return self.body.decode()

    async def read(self) -> bytes:
        return self.body


@dataclass
class Response:
    body: bytes = b""
    status: int = 200
    content_type: Optional[str] = None
    headers: Dict[str, str] = field(default_factory=dict)


@dataclass
class FileResponse(Response):
    """Bytes `start` to `start + length` of a file, read while they are sent."""

    path: str = ""
    start: int = 0
    length: int = 0


@dataclass
class Upgrade(Response):
    """Hands the connection over, for as long as `take_over` runs."""

    take_over: Optional[Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]] = None


Handler = Callable[[Request], Awaitable[Response]]


def json_response(data: Any, status: int = 200) -> Response:
    return Response(json.dumps(data).encode(), status, "application/json; charset=utf-8")


def text_response(text: str, status: int = 200) -> Response:
    return Response(text.encode(), status, "text/plain; charset=utf-8")


def file_response(request: Request, path: str, headers: Mapping[str, str]) -> Response:
    """A file with what lets a client ask for parts of it, or whether it changed."""
    facts = os.stat(path)
    etag = f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'
    common = {
        **headers,
        "Etag": etag,
        "Last-Modified": formatdate(facts.st_mtime, usegmt=True),
        "Accept-Ranges": "bytes",
    }
    if etag in [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]:
        return Response(status=304, headers=common)
    content_type = common.pop("Content-Type", None) or mimetypes.guess_type(path)[0] or "application/octet-stream"
    part = _requested_part(request.headers.get("range", ""), facts.st_size)
    if part is None:
        return FileResponse(content_type=content_type, headers=common, path=path, length=facts.st_size)
    start, end = part
    if start >= end:
        return Response(status=416, headers={"Content-Range": f"bytes */{facts.st_size}"})
    common["Content-Range"] = f"bytes {start}-{end - 1}/{facts.st_size}"
    return FileResponse(
        status=206, content_type=content_type, headers=common, path=path, start=start, length=end - start
    )


async def serve_connection(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handle: Handler, largest_body: int
) -> None:
    """Answers requests one after the other until the client goes or asks to close."""
    try:
        keep_alive = True
        while keep_alive:
            try:
                request = await _read_request(reader, writer, largest_body)
            except BadRequest as refusal:
                await _write_response(writer, None, text_response(refusal.text, refusal.status), keep_alive=False)
                await _discard_rest(reader)
                return
            if request is None:
                return
            response = await handle(request)
            if isinstance(response, Upgrade) and response.take_over:
                await response.take_over(reader, writer)
                return
            keep_alive = request.headers.get("connection", "").lower() != "close"
            await _write_response(writer, request, response, keep_alive)
    except (ConnectionError, asyncio.IncompleteReadError):
        # The client went away; nobody is left to be told.
        return
    finally:
        writer.close()


async def _discard_rest(reader: asyncio.StreamReader) -> None:
    """Takes what the client still sends, for a while: closing at once could cost it the answer."""

    async def discard() -> None:
        while await reader.read(_FILE_PART):
            pass

    try:
        await asyncio.wait_for(discard(), _LINGERING_SECONDS)
    except asyncio.TimeoutError:
        return


async def _read_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, largest_body: int
) -> Optional[Request]:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as end:
        if end.partial.strip():
            raise
        return None
    except asyncio.LimitOverrunError:
        raise BadRequest(400, f"the head of the request is longer than {_LARGEST_HEAD} bytes") from None
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    try:
        method, target, protocol = first.split(" ")
        pairs = [line.split(":", 1) for line in lines]
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
    except ValueError:
        raise BadRequest(400, f"Bad status line or header: {first!r}") from None
    if protocol == "HTTP/1.0":
        headers.setdefault("connection", "close")
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await _read_body(reader, headers, largest_body)
    path, _, query = target.partition("?")
    remote = writer.get_extra_info("peername") or ("",)
    return Request(method, path, dict(parse_qsl(query, keep_blank_values=True)), headers, body, remote[0])


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str], largest: int) -> bytes:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        parts: List[bytes] = []
        size = 0
        while True:
            length = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            size += length
            _refuse_above(largest, size)
            part = await reader.readexactly(length + 2)
            if length == 0:
                return b"".join(parts)
            parts.append(part[:-2])
    announced = headers.get("content-length", "0")
    if not announced.isdecimal():
        raise BadRequest(400, f"Content-Length {announced!r} is not a number")
    _refuse_above(largest, int(announced))
    return await reader.readexactly(int(announced))


def _refuse_above(largest: int, size: int) -> None:
    if size > largest:
        raise BadRequest(413, f"Maximum request body size {largest} exceeded, actual body size {size}")


async def _write_response(
    writer: asyncio.StreamWriter, request: Optional[Request], response: Response, keep_alive: bool
) -> None:
    is_file = isinstance(response, FileResponse)
    lines = [f"HTTP/1.1 {response.status} {_reason(response.status)}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    if response.content_type:
        lines.append(f"Content-Type: {response.content_type}")
    if response.status not in (204, 304):
        lines.append(f"Content-Length: {response.length if isinstance(response, FileResponse) else len(response.body)}")
    lines += [f"Date: {_now()}", f"Server: {_SERVER}"]
    if not keep_alive:
        lines.append("Connection: close")
    has_body = request is None or request.method != "HEAD"
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    writer.write(head + response.body if has_body and not is_file else head)
    if isinstance(response, FileResponse) and has_body:
        await _write_file(writer, response)
    await writer.drain()


async def _write_file(writer: asyncio.StreamWriter, response: FileResponse) -> None:
    left = response.length
    with open(response.path, "rb") as file:
        file.seek(response.start)
        while left > 0:
            part = file.read(min(_FILE_PART, left))
            if not part:
                # It shrank while it was sent: the length is promised, so only closing tells the client.
                raise ConnectionAbortedError(f"{response.path} became shorter")
            writer.write(part)
            await writer.drain()
            left -= len(part)


def _requested_part(header: str, size: int) -> Optional[Tuple[int, int]]:
    """First byte and the byte after the last, when one part is asked for; several parts are answered with the whole."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    if match is None or match.group(0) == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


_date: Tuple[int, str] = (0, "")


def _now() -> str:
    """The `Date` of an answer; made once a second, since load tests ask for it thousands of times."""
    global _date
    second = int(time.time())
    if _date[0] != second:
        _date = (second, formatdate(second, usegmt=True))
    return _date[1]
