"""Plugins: found in the folders of `custom_nodes`, imported for real, and reported as ComfyUI reports them."""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import logging
import os
import re
import sys
import time
import traceback
from types import ModuleType
from typing import Any, Dict, List, Tuple

import folder_paths
import nodes

# Name under /extensions → folder that is served there.
web_folders: Dict[str, str] = {}

_loaded: List[str] = []


def loaded_names() -> List[str]:
    return list(_loaded)


def run_prestartup_scripts(arguments: argparse.Namespace) -> None:
    """Runs what plugins want done before anything else is imported. Raises where there is no plugins' folder."""
    times = []
    for folder in folder_paths.get_folder_paths("custom_nodes"):
        for name in os.listdir(folder):
            script = os.path.join(folder, name, "prestartup_script.py")
            if name.endswith(".disabled") or not os.path.exists(script):
                continue
            if not _is_wanted(name, arguments):
                logging.info(f"Prestartup Skipping {_why_skipped(name)}")
                continue
            started = time.perf_counter()
            succeeded = _run_script(script)
            times.append((time.perf_counter() - started, os.path.join(folder, name), succeeded))
    _log_times("Prestartup times for custom nodes:", "PRESTARTUP FAILED", times)


async def load_all(arguments: argparse.Namespace) -> None:
    """Imports every plugin, in the order of the folder's listing, which is not sorted."""
    if arguments.disable_all_custom_nodes and not arguments.whitelist_custom_nodes:
        logging.info("Skipping loading of custom nodes")
        return
    reserved = nodes.own_class_names()
    times = []
    for folder in folder_paths.get_folder_paths("custom_nodes"):
        for name in os.listdir(os.path.realpath(folder)):
            path = os.path.join(folder, name)
            is_other_file = os.path.isfile(path) and not name.endswith(".py")
            if name == "__pycache__" or is_other_file or name.endswith(".disabled"):
                continue
            if not _is_wanted(name, arguments):
                logging.info(f"Skipping {_why_skipped(name)}")
                continue
            started = time.perf_counter()
            succeeded = await _load(path, reserved)
            times.append((time.perf_counter() - started, path, succeeded))
            if succeeded:
                _loaded.append(name)
    _log_times("Import times for custom nodes:", "IMPORT FAILED", times)


async def _load(path: str, reserved: List[str]) -> bool:
    """Whether the plugin was imported and offers nodes; says in the log what is wrong when not."""
    name = os.path.splitext(os.path.basename(path))[0] if os.path.isfile(path) else os.path.basename(path)
    try:
        module = _import(path)
        _register_web_folders(path, name, module)
        mappings = getattr(module, "NODE_CLASS_MAPPINGS", None)
        if mappings is not None:
            _register(mappings, getattr(module, "NODE_DISPLAY_NAME_MAPPINGS", None) or {}, name, reserved)
            return True
        if hasattr(module, "comfy_entrypoint"):
            return await _load_extension(path, name, module, reserved)
        logging.warning(
            f"Skip {path} module for custom nodes due to the lack of NODE_CLASS_MAPPINGS or NODES_LIST (need one)."
        )
        return False
    except Exception as error:
        # Only Exception: a plugin that calls sys.exit ends the process, under ComfyUI too.
        logging.warning(traceback.format_exc())
        logging.warning(f"Cannot import {path} module for custom nodes: {error}")
        return False


def _import(path: str) -> ModuleType:
    if os.path.isfile(path):
        module_name, file = os.path.splitext(path)[0], path
    elif os.path.isdir(path):
        # A dot in the name would make Python look for a parent package.
        module_name, file = path.replace(".", "_x_"), os.path.join(path, "__init__.py")
    else:
        raise FileNotFoundError(f"{path} is a link that leads nowhere")
    specification = importlib.util.spec_from_file_location(module_name, file)
    if specification is None or specification.loader is None:
        raise ImportError(f"{file} is no Python module")
    module = importlib.util.module_from_spec(specification)
    sys.modules[module_name] = module
    specification.loader.exec_module(module)
    return module


def _register(mappings: Dict[str, Any], display_names: Dict[str, str], plugin: str, reserved: List[str]) -> None:
    for class_name, node in mappings.items():
        if class_name not in reserved:
            nodes.NODE_CLASS_MAPPINGS[class_name] = node
            node.RELATIVE_PYTHON_MODULE = f"custom_nodes.{plugin}"
    nodes.NODE_DISPLAY_NAME_MAPPINGS.update(display_names)


async def _load_extension(path: str, name: str, module: ModuleType, reserved: List[str]) -> bool:
    """Plugins of the newer sort: a function that returns an extension, which lists its classes."""
    from comfy_api.latest import ComfyExtension

    try:
        extension = module.comfy_entrypoint()
        if inspect.isawaitable(extension):
            extension = await extension
        if not isinstance(extension, ComfyExtension):
            logging.warning(f"comfy_entrypoint in {path} did not return a ComfyExtension, skipping.")
            return False
        await extension.on_load()
        schemas = {node: node.GET_SCHEMA() for node in await extension.get_node_list()}
    except Exception as error:
        logging.warning(f"Error while calling comfy_entrypoint in {path}: {error}")
        return False
    display_names = {schema.node_id: schema.display_name for schema in schemas.values() if schema.display_name}
    _register({schema.node_id: node for node, schema in schemas.items()}, display_names, name, reserved)
    return True


def _register_web_folders(path: str, name: str, module: ModuleType) -> None:
    project = _project_web_folder(path)
    if project is not None:
        folder, project_name = project
        web_folders[project_name] = os.path.join(path, folder)
        logging.info(f"Automatically register web folder {folder} for {project_name}")
    declared = getattr(module, "WEB_DIRECTORY", None)
    if declared is not None:
        folder = os.path.abspath(os.path.join(path if os.path.isdir(path) else os.path.dirname(path), declared))
        if os.path.isdir(folder):
            web_folders[name] = folder


def _project_web_folder(path: str) -> Any:
    """Web folder and project name that a plugin's `pyproject.toml` gives, or None."""
    file = os.path.join(path, "pyproject.toml")
    if not os.path.isfile(file):
        return None
    with open(file, encoding="utf-8") as source:
        texts = _texts_of_toml(source.read())
    folder, name = texts.get("tool.comfy.web"), texts.get("project.name")
    return (folder, name) if folder and name and os.path.isdir(os.path.join(path, folder)) else None


def _texts_of_toml(source: str) -> Dict[str, str]:
    """The texts of a TOML file by their full names. Python before 3.11 has no TOML reader; this is enough for names."""
    texts: Dict[str, str] = {}
    table = ""
    for line in source.splitlines():
        header = re.match(r"\[([^\[\]]+)\]", line.strip())
        text = re.match(r"""\s*([\w-]+)\s*=\s*(["'])(.*?)\2""", line)
        if header:
            table = header.group(1).strip()
        elif text:
            texts[f"{table}.{text.group(1)}"] = text.group(3)
    return texts


def _is_wanted(name: str, arguments: argparse.Namespace) -> bool:
    return not arguments.disable_all_custom_nodes or name in arguments.whitelist_custom_nodes


def _why_skipped(name: str) -> str:
    return f"{name} due to disable_all_custom_nodes and whitelist_custom_nodes"


def _run_script(path: str) -> bool:
    try:
        specification = importlib.util.spec_from_file_location(os.path.splitext(path)[0], path)
        if specification is None or specification.loader is None:
            raise ImportError(f"{path} is no Python module")
        specification.loader.exec_module(importlib.util.module_from_spec(specification))
        return True
    except Exception as error:
        logging.error(f"Failed to execute startup-script: {path} / {error}")
        return False


def _log_times(title: str, failure: str, times: List[Tuple[float, str, bool]]) -> None:
    """The table that tells what loaded, quickest first; none without plugins."""
    if not times:
        return
    logging.info(f"\n{title}")
    for seconds, path, succeeded in sorted(times):
        logging.info(f"{seconds:6.1f} seconds{'' if succeeded else f' ({failure})'}: {path}")
    logging.info("")
