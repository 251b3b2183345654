"""ComfyUI's own node classes, as many as a workflow without models needs, and the table of all that are known."""

from __future__ import annotations

import hashlib
import json
import os
import random
from typing import Any, Dict, List, Optional, Tuple

import folder_paths
from stand_in import png
from stand_in.arguments import parse_arguments
from stand_in.images import ImageBatch, Picture, pictures_of
from stand_in.samplers import SAMPLERS, SCHEDULERS

MAX_RESOLUTION = 16384

# ComfyUI's own texts: pages show them, and what compares interfaces compares them.
_GUIDANCE_TOOLTIP = (
    "The Classifier-Free Guidance scale balances creativity and adherence to the prompt. Higher values result in "
    "images more closely matching the prompt however too high values will negatively impact quality."
)
_SAMPLER_TOOLTIP = (
    "The algorithm used when sampling, this can affect the quality, speed, and style of the generated output."
)
_SCHEDULER_TOOLTIP = "The scheduler controls how noise is gradually removed to form the image."
_CONDITIONING_TOOLTIP = "The conditioning describing the attributes you want to {} the image."
_DENOISE_TOOLTIP = (
    "The amount of denoising applied, lower values will maintain the structure of the initial image allowing for "
    "image to image sampling."
)


class EmptyImage:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "generate"
    CATEGORY = "image"

    @classmethod
    def INPUT_TYPES(cls) -> Dict[str, Any]:
        side = {"default": 512, "min": 1, "max": MAX_RESOLUTION, "step": 1}
        return {
            "required": {
                "width": ("INT", side),
                "height": ("INT", side),
                "batch_size": ("INT", {"default": 1, "min": 1, "max": 4096}),
                "color": ("INT", {"default": 0, "min": 0, "max": 0xFFFFFF, "step": 1, "display": "color"}),
            }
        }

    def generate(self, width: int, height: int, batch_size: int = 1, color: int = 0) -> Tuple[ImageBatch]:
        picture = Picture(width, height, color.to_bytes(3, "big") * (width * height))
        return (ImageBatch([picture] * batch_size),)


class ImageInvert:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "invert"
    CATEGORY = "image"

    @classmethod
    def INPUT_TYPES(cls) -> Dict[str, Any]:
        return {"required": {"image": ("IMAGE",)}}

    def invert(self, image: Any) -> Tuple[ImageBatch]:
        inverse = bytes(255 - byte for byte in range(256))
        pictures = [Picture(one.width, one.height, one.rgb.translate(inverse)) for one in pictures_of(image)]
        return (ImageBatch(pictures),)


class SaveImage:
    RETURN_TYPES = ()
    FUNCTION = "save_images"
    OUTPUT_NODE = True
    CATEGORY = "image"
    DESCRIPTION = "Saves the input images to your ComfyUI output directory."

    type = "output"
    prefix_append = ""

    @classmethod
    def INPUT_TYPES(cls) -> Dict[str, Any]:
        prefix_tooltip = (
            "The prefix for the file to save. This may include formatting information such as %date:yyyy-MM-dd% or "
            "%Empty Latent Image.width% to include values from nodes."
        )
        return {
            "required": {
                "images": ("IMAGE", {"tooltip": "The images to save."}),
                "filename_prefix": ("STRING", {"default": "ComfyUI", "tooltip": prefix_tooltip}),
            },
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def save_images(
        self,
        images: Any,
        filename_prefix: str = "ComfyUI",
        prompt: Optional[Dict[str, Any]] = None,
        extra_pnginfo: Optional[Dict[str, Any]] = None,
    ) -> Dict[str, Any]:
        pictures = pictures_of(images)
        output = folder_paths.get_directory_by_type(self.type) or ""
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix + self.prefix_append, output, pictures[0].width, pictures[0].height
        )
        texts = {} if parse_arguments().disable_metadata else {"prompt": prompt, **(extra_pnginfo or {})}
        encoded = {key: json.dumps(value) for key, value in texts.items() if value is not None}
        saved = []
        for index, picture in enumerate(pictures):
            file = f"{name.replace('%batch_num%', str(index))}_{counter + index:05}_.png"
            pixels = png.Pixels(picture.width, picture.height, 3, picture.rgb)
            with open(os.path.join(folder, file), "wb") as target:
                target.write(png.encode(pixels, encoded))
            saved.append({"filename": file, "subfolder": subfolder, "type": self.type})
        return {"ui": {"images": saved}}


class PreviewImage(SaveImage):
    DESCRIPTION = "Saves the input images to your ComfyUI output directory."

    type = "temp"

    def __init__(self) -> None:
        # So that previews of two servers that share a folder do not meet.
        self.prefix_append = "_temp_" + "".join(random.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(5))

    @classmethod
    def INPUT_TYPES(cls) -> Dict[str, Any]:
        return {
            "required": {"images": ("IMAGE",)},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }


class LoadImage:
    """Reads PNG; other formats need Pillow, which ComfyUI has and the standard library has not."""

    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "load_image"
    CATEGORY = "image"

    @classmethod
    def INPUT_TYPES(cls) -> Dict[str, Any]:
        folder = folder_paths.get_input_directory()
        files = sorted(name for name in os.listdir(folder) if os.path.isfile(os.path.join(folder, name)))
        return {"required": {"image": (files, {"image_upload": True})}}

    def load_image(self, image: str) -> Tuple[ImageBatch, ImageBatch]:
        with open(folder_paths.get_annotated_filepath(image), "rb") as file:
            pixels = png.decode(file.read())
        picture = Picture(pixels.width, pixels.height, pixels.rgb())
        # A mask is what is transparent.
        opaque = b"\xff" * (pixels.width * pixels.height)
        inverse = bytes(255 - byte for byte in range(256))
        mask = (pixels.alpha() or opaque).translate(inverse)
        grey = png.Pixels(pixels.width, pixels.height, 1, mask).rgb()
        return ImageBatch([picture]), ImageBatch([Picture(pixels.width, pixels.height, grey)])

    @classmethod
    def IS_CHANGED(cls, image: str) -> str:
        with open(folder_paths.get_annotated_filepath(image), "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()

    @classmethod
    def VALIDATE_INPUTS(cls, image: str) -> Any:
        return folder_paths.exists_annotated_filepath(image) or f"Invalid image file: {image}"


class _NeedsModels:
    """Declared, so that workflows are validated as under ComfyUI; running it fails."""

    FUNCTION = "run"

    def run(self, **_inputs: Any) -> None:
        raise RuntimeError(f"the stand-in runs no models, so {type(self).__name__} cannot be executed here")


class CheckpointLoaderSimple(_NeedsModels):
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    OUTPUT_TOOLTIPS = (
        "The model used for denoising latents.",
        "The CLIP model used for encoding text prompts.",
        "The VAE model used for encoding and decoding images to and from latent space.",
    )
    CATEGORY = "loaders"
    DESCRIPTION = "Loads a diffusion model checkpoint, diffusion models are used to denoise latents."

    @classmethod
    def INPUT_TYPES(cls) -> Dict[str, Any]:
        names = folder_paths.get_filename_list("checkpoints")
        return {"required": {"ckpt_name": (names, {"tooltip": "The name of the checkpoint (model) to load."})}}


class CLIPTextEncode(_NeedsModels):
    RETURN_TYPES = ("CONDITIONING",)
    CATEGORY = "conditioning"

    @classmethod
    def INPUT_TYPES(cls) -> Dict[str, Any]:
        return {"required": {"text": ("STRING", {"multiline": True}), "clip": ("CLIP",)}}


class EmptyLatentImage(_NeedsModels):
    RETURN_TYPES = ("LATENT",)
    CATEGORY = "latent"

    @classmethod
    def INPUT_TYPES(cls) -> Dict[str, Any]:
        side = {"default": 512, "min": 16, "max": MAX_RESOLUTION, "step": 8}
        return {
            "required": {
                "width": ("INT", side),
                "height": ("INT", side),
                "batch_size": ("INT", {"default": 1, "min": 1, "max": 4096}),
            }
        }


class KSampler(_NeedsModels):
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The denoised latent.",)
    CATEGORY = "sampling"
    DESCRIPTION = "Uses the provided model, positive and negative conditioning to denoise the latent image."

    @classmethod
    def INPUT_TYPES(cls) -> Dict[str, Any]:
        seed = {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}
        steps = {"default": 20, "min": 1, "max": 10000}
        guidance = {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01}
        denoise = {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "The model used for denoising the input latent."}),
                "seed": ("INT", {**seed, "tooltip": "The random seed used for creating the noise."}),
                "steps": ("INT", {**steps, "tooltip": "The number of steps used in the denoising process."}),
                "cfg": ("FLOAT", {**guidance, "tooltip": _GUIDANCE_TOOLTIP}),
                "sampler_name": (SAMPLERS, {"tooltip": _SAMPLER_TOOLTIP}),
                "scheduler": (SCHEDULERS, {"tooltip": _SCHEDULER_TOOLTIP}),
                "positive": ("CONDITIONING", {"tooltip": _CONDITIONING_TOOLTIP.format("include in")}),
                "negative": ("CONDITIONING", {"tooltip": _CONDITIONING_TOOLTIP.format("exclude from")}),
                "latent_image": ("LATENT", {"tooltip": "The latent image to denoise."}),
                "denoise": ("FLOAT", {**denoise, "tooltip": _DENOISE_TOOLTIP}),
            }
        }


class VAEDecode(_NeedsModels):
    RETURN_TYPES = ("IMAGE",)
    OUTPUT_TOOLTIPS = ("The decoded image.",)
    CATEGORY = "latent"
    DESCRIPTION = "Decodes latent images back into pixel space images."

    @classmethod
    def INPUT_TYPES(cls) -> Dict[str, Any]:
        return {
            "required": {
                "samples": ("LATENT", {"tooltip": "The latent to be decoded."}),
                "vae": ("VAE", {"tooltip": "The VAE model used for decoding the latent."}),
            }
        }


NODE_CLASS_MAPPINGS: Dict[str, Any] = {
    node.__name__: node
    for node in (
        KSampler,
        CheckpointLoaderSimple,
        CLIPTextEncode,
        VAEDecode,
        EmptyLatentImage,
        SaveImage,
        PreviewImage,
        LoadImage,
        ImageInvert,
        EmptyImage,
    )
}

NODE_DISPLAY_NAME_MAPPINGS: Dict[str, str] = {
    "CheckpointLoaderSimple": "Load Checkpoint",
    "CLIPTextEncode": "CLIP Text Encode (Prompt)",
    "EmptyLatentImage": "Empty Latent Image",
    "ImageInvert": "Invert Image",
    "LoadImage": "Load Image",
    "PreviewImage": "Preview Image",
    "SaveImage": "Save Image",
    "VAEDecode": "VAE Decode",
}


def python_module(node: Any) -> str:
    """Where a class comes from: `nodes` for ComfyUI's own, `custom_nodes.<name>` for a plugin's."""
    return getattr(node, "RELATIVE_PYTHON_MODULE", "nodes")


def own_class_names() -> List[str]:
    """Names that plugins cannot take over."""
    return [name for name, node in NODE_CLASS_MAPPINGS.items() if python_module(node) == "nodes"]
