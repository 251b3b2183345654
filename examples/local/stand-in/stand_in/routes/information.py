"""What the server is and has: the machine, node classes, models, web folders."""

from __future__ import annotations

import argparse
import html
import logging
import os
import sys
import traceback
from typing import Any, Dict, List

import folder_paths
import nodes
from server import PromptServer
from stand_in import plugins, version
from stand_in.http import Request, Response, file_response, json_response
from stand_in.routes.sockets import server_features
from stand_in.routing import RouteTable

_NEVER_CACHED = {"Cache-Control": "no-cache", "Pragma": "no-cache", "Expires": "0"}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>ComfyUI stand-in</title></head>
<body><h1>This is a stand-in, not ComfyUI</h1>
<p>It answers ComfyUI's API and runs the nodes of these plugins: {plugins}.</p></body></html>
"""


def add_routes(routes: RouteTable, server: PromptServer, arguments: argparse.Namespace) -> None:
    @routes.get("/")
    async def get_page(_request: Request) -> Response:
        names = ", ".join(plugins.loaded_names()) or "none"
        return Response(_PAGE.format(plugins=html.escape(names)).encode(), 200, "text/html", dict(_NEVER_CACHED))

    @routes.get("/system_stats")
    async def get_system_stats(_request: Request) -> Dict[str, Any]:
        total, free = folder_paths.physical_memory()
        return {
            "system": {
                "os": os.name,
                "ram_total": total,
                "ram_free": free,
                "comfyui_version": version.COMFYUI_VERSION,
                "required_frontend_version": version.FRONTEND_VERSION,
                "installed_templates_version": version.TEMPLATES_VERSION,
                "required_templates_version": version.TEMPLATES_VERSION,
                "python_version": sys.version,
                "pytorch_version": "none",
                "embedded_python": False,
                "argv": sys.argv,
            },
            "devices": [
                {
                    "name": "cpu",
                    "type": "cpu",
                    "index": None,
                    "vram_total": total,
                    "vram_free": free,
                    "torch_vram_total": total,
                    "torch_vram_free": free,
                }
            ],
        }

    @routes.get("/features")
    async def get_features(_request: Request) -> Dict[str, Any]:
        return server_features(arguments)

    @routes.get("/object_info")
    async def get_object_info(_request: Request) -> Dict[str, Any]:
        infos = {}
        for name in nodes.NODE_CLASS_MAPPINGS:
            try:
                infos[name] = _class_info(name)
            except Exception:
                # A plugin's class that cannot describe itself must not hide all others.
                logging.error(f"[ERROR] An error occurred while retrieving information for the '{name}' node.")
                logging.error(traceback.format_exc())
        return infos

    @routes.get("/object_info/{name}")
    async def get_object_info_of(request: Request) -> Dict[str, Any]:
        name = request.match_info["name"]
        return {name: _class_info(name)} if name in nodes.NODE_CLASS_MAPPINGS else {}

    @routes.get("/embeddings")
    async def get_embeddings(_request: Request) -> List[str]:
        return [os.path.splitext(name)[0] for name in folder_paths.get_filename_list("embeddings")]

    @routes.get("/models")
    async def get_model_kinds(_request: Request) -> List[str]:
        return [kind for kind in folder_paths.folder_names_and_paths if kind != "custom_nodes"]

    @routes.get("/models/{kind}")
    async def get_models(request: Request) -> Response:
        kind = request.match_info["kind"]
        if kind not in folder_paths.folder_names_and_paths:
            return Response(status=404)
        return json_response(folder_paths.get_filename_list(kind))

    @routes.get("/experiment/models")
    async def get_model_folders(_request: Request) -> List[Dict[str, Any]]:
        return [
            {"name": kind, "folders": folders}
            for kind, (folders, _) in folder_paths.folder_names_and_paths.items()
            if kind not in ("configs", "custom_nodes")
        ]

    @routes.get("/workflow_templates")
    async def get_workflow_templates(_request: Request) -> Dict[str, Any]:
        return {}

    @routes.get("/i18n")
    async def get_translations(_request: Request) -> Dict[str, Any]:
        return {}

    @routes.get("/extensions")
    async def get_extensions(_request: Request) -> List[str]:
        return [
            f"/extensions/{name}/{os.path.relpath(os.path.join(parent, file), folder)}"
            for name, folder in plugins.web_folders.items()
            for parent, _, files in os.walk(folder)
            for file in sorted(files)
            if file.endswith(".js")
        ]

    # Folders in a web folder, three deep: a route's segment takes no slash.
    @routes.get("/extensions/{name}/{one}")
    @routes.get("/extensions/{name}/{one}/{two}")
    @routes.get("/extensions/{name}/{one}/{two}/{three}")
    async def get_extension_file(request: Request) -> Response:
        name, *segments = request.match_info.values()
        folder = plugins.web_folders.get(name)
        path = os.path.join(folder, *segments) if folder else ""
        if not folder or not folder_paths.is_within(folder, path) or not os.path.isfile(path):
            return Response(status=404, content_type="application/octet-stream")
        return file_response(request, path, _NEVER_CACHED if path.endswith((".js", ".css")) else {})


def _class_info(name: str) -> Dict[str, Any]:
    """What a page needs to draw a node; raises what the class's own `INPUT_TYPES` raises."""
    node = nodes.NODE_CLASS_MAPPINGS[name]
    display_name = nodes.NODE_DISPLAY_NAME_MAPPINGS.get(name, name)
    if hasattr(node, "describe"):
        return node.describe(display_name, nodes.python_module(node))
    inputs = node.INPUT_TYPES()
    outputs = node.RETURN_TYPES
    info = {
        "input": inputs,
        "input_order": {group: list(members) for group, members in inputs.items()},
        "output": outputs,
        "output_is_list": getattr(node, "OUTPUT_IS_LIST", [False] * len(outputs)),
        "output_name": getattr(node, "RETURN_NAMES", outputs),
        "name": name,
        "display_name": display_name,
        "description": getattr(node, "DESCRIPTION", ""),
        "python_module": nodes.python_module(node),
        "category": getattr(node, "CATEGORY", "sd"),
        "output_node": bool(getattr(node, "OUTPUT_NODE", False)),
    }
    if hasattr(node, "OUTPUT_TOOLTIPS"):
        info["output_tooltips"] = node.OUTPUT_TOOLTIPS
    for attribute in ("DEPRECATED", "EXPERIMENTAL", "API_NODE"):
        if getattr(node, attribute, False):
            info[attribute.lower()] = True
    return info
