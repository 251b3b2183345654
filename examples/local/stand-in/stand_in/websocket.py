"""WebSockets (RFC 6455), the server's side of one connection, without extensions."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
from typing import AsyncIterator, Optional, Tuple, Union

from stand_in.http import Request

_ACCEPT_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
# aiohttp's limit, which is ComfyUI's.
_LARGEST_MESSAGE = 4 * 1024 * 1024


class ProtocolError(Exception):
    """The client broke the protocol; the close code says how."""

    def __init__(self, code: int) -> None:
        super().__init__(f"WebSocket protocol error {code}")
        self.code = code


def is_upgrade(request: Request) -> bool:
    return request.headers.get("upgrade", "").lower() == "websocket" and "sec-websocket-key" in request.headers


class WebSocket:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def accept(self, request: Request) -> None:
        key = request.headers["sec-websocket-key"].encode()
        accepted = base64.b64encode(hashlib.sha1(key + _ACCEPT_SUFFIX).digest()).decode()
        self._writer.write(
            (
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
                f"Sec-WebSocket-Accept: {accepted}\r\n\r\n"
            ).encode()
        )

    def send(self, message: Union[str, bytes]) -> None:
        """Sends a text or binary message; one to a client that has gone is dropped."""
        if not self._writer.is_closing():
            self._write(_TEXT, message.encode()) if isinstance(message, str) else self._write(_BINARY, message)

    async def messages(self) -> AsyncIterator[Union[str, bytes]]:
        """What the client sends, until it closes or goes."""
        try:
            while True:
                message = await self._read_message()
                if message is None:
                    return
                yield message
        except ProtocolError as error:
            self._write(_CLOSE, struct.pack(">H", error.code))
        except (ConnectionError, asyncio.IncompleteReadError):
            # Gone without a close frame, as browsers do when a page is left.
            return

    async def _read_message(self) -> Optional[Union[str, bytes]]:
        kind, parts = _CONTINUATION, bytearray()
        while True:
            final, opcode, payload = await self._read_frame()
            if opcode == _CLOSE:
                self._write(_CLOSE, payload[:2])
                await self._writer.drain()
                return None
            if opcode == _PING:
                self._write(_PONG, payload)
            elif opcode in (_CONTINUATION, _TEXT, _BINARY):
                if (opcode == _CONTINUATION) != bool(kind):
                    raise ProtocolError(1002)
                kind = opcode or kind
                parts += payload
                if len(parts) > _LARGEST_MESSAGE:
                    raise ProtocolError(1009)
                if final:
                    return parts.decode() if kind == _TEXT else bytes(parts)

    async def _read_frame(self) -> Tuple[bool, int, bytes]:
        first, second = await self._reader.readexactly(2)
        if not second & 0x80:
            raise ProtocolError(1002)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", await self._reader.readexactly(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", await self._reader.readexactly(8))
        if length > _LARGEST_MESSAGE:
            raise ProtocolError(1009)
        mask = await self._reader.readexactly(4)
        return bool(first & 0x80), first & 0x0F, _unmask(await self._reader.readexactly(length), mask)

    def _write(self, opcode: int, payload: bytes) -> None:
        length = len(payload)
        if length < 126:
            head = struct.pack(">BB", 0x80 | opcode, length)
        elif length < 65536:
            head = struct.pack(">BBH", 0x80 | opcode, 126, length)
        else:
            head = struct.pack(">BBQ", 0x80 | opcode, 127, length)
        self._writer.write(head + payload)


def _unmask(payload: bytes, mask: bytes) -> bytes:
    """Exclusive or with the repeated mask, on one large number since a loop over bytes is a hundred times slower."""
    length = len(payload)
    repeated = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(length, "big")
