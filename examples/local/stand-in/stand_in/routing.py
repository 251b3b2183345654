"""Which handler answers which method and path."""

from __future__ import annotations

import inspect
from typing import Any, Callable, Dict, List, Optional, Tuple
from urllib.parse import unquote

from stand_in.http import Request, Response, json_response, text_response

Endpoint = Callable[[Request], Any]


class RouteTable:
    """Routes by method and path; a segment in braces, as in `/history/{prompt_id}`, takes any text."""

    def __init__(self) -> None:
        self._routes: List[Tuple[str, List[str], Endpoint]] = []

    def get(self, path: str) -> Callable[[Endpoint], Endpoint]:
        return self._add("GET", path)

    def post(self, path: str) -> Callable[[Endpoint], Endpoint]:
        return self._add("POST", path)

    def put(self, path: str) -> Callable[[Endpoint], Endpoint]:
        return self._add("PUT", path)

    def patch(self, path: str) -> Callable[[Endpoint], Endpoint]:
        return self._add("PATCH", path)

    def delete(self, path: str) -> Callable[[Endpoint], Endpoint]:
        return self._add("DELETE", path)

    def _add(self, method: str, path: str) -> Callable[[Endpoint], Endpoint]:
        def register(endpoint: Endpoint) -> Endpoint:
            self._routes.append((method, path.split("/"), endpoint))
            return endpoint

        return register

    def find(self, method: str, path: str) -> Tuple[Optional[Endpoint], Dict[str, str], List[str]]:
        """The endpoint with its path's parts, and the methods that the path has; a HEAD is answered as its GET."""
        wanted = "GET" if method == "HEAD" else method
        segments = path.split("/")
        methods = []
        for route_method, pattern, endpoint in self._routes:
            parts = _match(pattern, segments)
            if parts is None:
                continue
            if route_method == wanted:
                return endpoint, parts, []
            methods.append(route_method)
        return None, {}, methods


def _match(pattern: List[str], segments: List[str]) -> Optional[Dict[str, str]]:
    """Compares segment by segment while they are encoded, so that `%2F` in a file's name stays in one segment."""
    if len(pattern) != len(segments):
        return None
    parts = {}
    for expected, segment in zip(pattern, segments):
        if expected.startswith("{"):
            if not segment:
                return None
            parts[expected[1:-1]] = unquote(segment)
        elif expected != segment:
            return None
    return parts


async def call(endpoint: Endpoint, request: Request) -> Response:
    """Calls an endpoint, plain or async, and makes a response of what it returns."""
    answer = endpoint(request)
    if inspect.isawaitable(answer):
        answer = await answer
    if isinstance(answer, Response):
        return answer
    if isinstance(answer, (dict, list)):
        return json_response(answer)
    if isinstance(answer, str):
        return text_response(answer)
    # For example aiohttp's response, from a plugin that imports aiohttp.
    return Response(bytes(answer.body or b""), answer.status, answer.content_type)
