"""What users keep on the server: settings, workflows and other files. There is one user, `default`."""

from __future__ import annotations

import argparse
import glob
import json
import logging
import os
import shutil
from typing import Any, Dict, Optional, Union

import folder_paths
from server import PromptServer
from stand_in.http import Request, Response, file_response, json_response, text_response
from stand_in.routing import RouteTable

_SETTINGS = "comfy.settings.json"


def add_routes(routes: RouteTable, _server: PromptServer, _arguments: argparse.Namespace) -> None:
    @routes.get("/users")
    async def get_users(_request: Request) -> Dict[str, Any]:
        return {"storage": "server", "migrated": os.path.exists(_user_folder())}

    @routes.get("/settings")
    async def get_settings(_request: Request) -> Dict[str, Any]:
        return _read_settings()

    @routes.get("/settings/{name}")
    async def get_setting(request: Request) -> Response:
        return json_response(_read_settings().get(request.match_info["name"]))

    @routes.post("/settings")
    async def post_settings(request: Request) -> Response:
        _write_settings({**_read_settings(), **await request.json()})
        return Response()

    @routes.post("/settings/{name}")
    async def post_setting(request: Request) -> Response:
        _write_settings({**_read_settings(), request.match_info["name"]: await request.json()})
        return Response()

    @routes.get("/userdata")
    async def list_files(request: Request) -> Response:
        asked = request.query.get("dir", "")
        if not asked:
            return text_response("Directory not provided", 400)
        folder = _path_of(asked)
        if folder is None:
            return text_response("Invalid directory", 403)
        if not os.path.exists(folder):
            return text_response("Directory not found", 404)
        recurse = request.query.get("recurse", "").lower() == "true"
        pattern = os.path.join(glob.escape(folder), "**/*" if recurse else "*")
        files = [path for path in glob.glob(pattern, recursive=recurse) if os.path.isfile(path)]
        if request.query.get("full_info", "").lower() == "true":
            return json_response([_facts(path, folder) for path in files])
        names = [os.path.relpath(path, folder) for path in files]
        if request.query.get("split", "").lower() == "true":
            return json_response([[name, *name.split("/")] for name in names])
        return json_response(names)

    @routes.get("/userdata/{file}")
    async def get_file(request: Request) -> Response:
        path = _existing(request.match_info["file"])
        return path if isinstance(path, Response) else file_response(request, path, {})

    @routes.post("/userdata/{file}")
    async def post_file(request: Request) -> Response:
        path = _path_of(request.match_info["file"])
        if path is None:
            return Response(status=403)
        if request.query.get("overwrite") == "false" and os.path.exists(path):
            return text_response("File already exists", 409)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(request.body)
        return _about(path, request)

    @routes.delete("/userdata/{file}")
    async def delete_file(request: Request) -> Response:
        path = _existing(request.match_info["file"])
        if isinstance(path, Response):
            return path
        os.remove(path)
        return Response(status=204)

    @routes.post("/userdata/{file}/move/{destination}")
    async def move_file(request: Request) -> Response:
        source = _existing(request.match_info["file"])
        if isinstance(source, Response):
            return source
        destination = _path_of(request.match_info["destination"])
        if destination is None:
            return Response(status=403)
        if request.query.get("overwrite") == "false" and os.path.exists(destination):
            return text_response("File already exists", 409)
        os.makedirs(os.path.dirname(destination), exist_ok=True)
        shutil.move(source, destination)
        return _about(destination, request)


def _user_folder() -> str:
    return os.path.join(folder_paths.get_user_directory(), "default")


def _path_of(name: str) -> Optional[str]:
    """Where a user's file is, or None for a name that leads out of the user's folder."""
    path = os.path.abspath(os.path.join(_user_folder(), name))
    return path if folder_paths.is_within(_user_folder(), path) else None


def _existing(name: str) -> Union[str, Response]:
    path = _path_of(name)
    if path is None:
        return Response(status=403)
    return path if os.path.exists(path) else Response(status=404)


def _about(path: str, request: Request) -> Response:
    full = request.query.get("full_info", "").lower() == "true"
    return json_response(_facts(path, _user_folder()) if full else os.path.relpath(path, _user_folder()))


def _facts(path: str, folder: str) -> Dict[str, Any]:
    facts = os.stat(path)
    # Milliseconds.
    return {"path": os.path.relpath(path, folder), "size": facts.st_size, "modified": int(facts.st_mtime * 1000)}


def _read_settings() -> Dict[str, Any]:
    path = os.path.join(_user_folder(), _SETTINGS)
    if not os.path.isfile(path):
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except ValueError:
        logging.error(f"The user settings file is corrupted: {path}")
        return {}


def _write_settings(settings: Dict[str, Any]) -> None:
    os.makedirs(_user_folder(), exist_ok=True)
    with open(os.path.join(_user_folder(), _SETTINGS), "w", encoding="utf-8") as file:
        json.dump(settings, file, indent=4)
