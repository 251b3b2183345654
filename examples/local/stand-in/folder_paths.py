"""Where things are, under the names by which ComfyUI's plugins ask for them."""

from __future__ import annotations

import logging
import os
import shutil
from typing import Dict, List, Optional, Set, Tuple

from stand_in.arguments import parse_arguments

supported_pt_extensions: Set[str] = {".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft"}

source_directory = os.path.dirname(os.path.realpath(__file__))
base_path = os.path.abspath(parse_arguments().base_directory or source_directory)
models_dir = os.path.join(base_path, "models")

_directories: Dict[str, str] = {kind: os.path.join(base_path, kind) for kind in ("output", "temp", "input", "user")}

# Kind of file → the folders that are searched for it, below `models`.
_MODEL_FOLDERS = {
    "checkpoints": ("checkpoints",),
    "configs": ("configs",),
    "loras": ("loras",),
    "vae": ("vae",),
    "text_encoders": ("text_encoders", "clip"),
    "diffusion_models": ("unet", "diffusion_models"),
    "clip_vision": ("clip_vision",),
    "style_models": ("style_models",),
    "embeddings": ("embeddings",),
    "diffusers": ("diffusers",),
    "vae_approx": ("vae_approx",),
    "controlnet": ("controlnet", "t2i_adapter"),
    "gligen": ("gligen",),
    "upscale_models": ("upscale_models",),
    "custom_nodes": (),
    "hypernetworks": ("hypernetworks",),
    "photomaker": ("photomaker",),
    "classifiers": ("classifiers",),
    "model_patches": ("model_patches",),
    "audio_encoders": ("audio_encoders",),
}

# Any extension counts where none is listed.
_EXTENSIONS: Dict[str, Set[str]] = {"configs": {".yaml"}, "diffusers": {"folder"}, "classifiers": {""}}

folder_names_and_paths: Dict[str, Tuple[List[str], Set[str]]] = {
    kind: ([os.path.join(models_dir, folder) for folder in folders], _EXTENSIONS.get(kind, supported_pt_extensions))
    for kind, folders in _MODEL_FOLDERS.items()
}
folder_names_and_paths["custom_nodes"] = ([os.path.join(base_path, "custom_nodes")], set())

_OLD_NAMES = {"unet": "diffusion_models", "clip": "text_encoders"}

if not os.path.exists(_directories["input"]):
    try:
        os.makedirs(_directories["input"])
    except OSError:
        logging.error("Failed to create input directory")


def set_directory(kind: str, folder: str) -> None:
    _directories[kind] = folder


def get_directory_by_type(kind: str) -> Optional[str]:
    """The folder of files that a browser may ask for, or None for a kind that there is not."""
    return _directories[kind] if kind in ("output", "temp", "input") else None


def get_output_directory() -> str:
    return _directories["output"]


def get_temp_directory() -> str:
    return _directories["temp"]


def get_input_directory() -> str:
    return _directories["input"]


def get_user_directory() -> str:
    return _directories["user"]


def remove_temporary_files() -> None:
    shutil.rmtree(get_temp_directory(), ignore_errors=True)


def add_model_folder_path(kind: str, folder: str, is_default: bool = False) -> None:
    kind = _OLD_NAMES.get(kind, kind)
    folders, _ = folder_names_and_paths.setdefault(kind, ([], set()))
    if folder in folders:
        folders.remove(folder)
    folders.insert(0 if is_default else len(folders), folder)


def get_folder_paths(kind: str) -> List[str]:
    return list(folder_names_and_paths[_OLD_NAMES.get(kind, kind)][0])


def get_filename_list(kind: str) -> List[str]:
    """Names of the model files of a kind, relative to their folders, sorted. Reads the folders at each call."""
    folders, extensions = folder_names_and_paths[_OLD_NAMES.get(kind, kind)]
    return sorted({name for folder in folders for name in _files_below(folder) if _has_extension(name, extensions)})


def get_full_path(kind: str, name: str) -> Optional[str]:
    for folder in get_folder_paths(kind):
        path = os.path.join(folder, os.path.relpath(os.path.join("/", name), "/"))
        if os.path.isfile(path):
            return path
    return None


def annotated_filepath(name: str) -> Tuple[str, Optional[str]]:
    """Splits `picture.png [output]` into the name and the folder that the annotation means."""
    for kind in ("output", "input", "temp"):
        suffix = f"[{kind}]"
        if name.endswith(suffix):
            return name[: -len(suffix)].rstrip(), _directories[kind]
    return name, None


def get_annotated_filepath(name: str) -> str:
    name, folder = annotated_filepath(name)
    return os.path.join(folder or get_input_directory(), name)


def exists_annotated_filepath(name: str) -> bool:
    return os.path.exists(get_annotated_filepath(name))


def is_within(folder: str, path: str) -> bool:
    """Whether a path stays in a folder once `..` is resolved."""
    folder = os.path.abspath(folder)
    return os.path.commonpath((folder, os.path.abspath(path))) == folder


def get_save_image_path(
    filename_prefix: str, output_dir: str, image_width: int = 0, image_height: int = 0
) -> Tuple[str, str, int, str, str]:
    """Folder, name, next free number, subfolder and prefix for a picture that is to be saved."""
    prefix = filename_prefix.replace("%width%", str(image_width)).replace("%height%", str(image_height))
    subfolder, name = os.path.split(os.path.normpath(prefix))
    folder = os.path.join(output_dir, subfolder)
    if not is_within(output_dir, folder):
        raise ValueError(f"Saving image outside the output folder is not allowed: {folder} is not in {output_dir}")
    os.makedirs(folder, exist_ok=True)
    numbers = [_number_after(name, existing) for existing in os.listdir(folder)]
    return folder, name, max(numbers, default=0) + 1, subfolder, prefix


def physical_memory() -> Tuple[int, int]:
    """Total and free bytes."""
    page = os.sysconf("SC_PAGE_SIZE")
    return os.sysconf("SC_PHYS_PAGES") * page, os.sysconf("SC_AVPHYS_PAGES") * page


def _number_after(name: str, existing: str) -> int:
    if not existing.startswith(name + "_"):
        return 0
    digits = existing[len(name) + 1 :].split("_")[0]
    return int(digits) if digits.isdecimal() else 0


def _files_below(folder: str) -> List[str]:
    return [
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
    ]


def _has_extension(name: str, extensions: Set[str]) -> bool:
    return not extensions or os.path.splitext(name)[1].lower() in extensions
