"""Which ComfyUI the stand-in answers like. The suffix says to whoever reads it that this is not ComfyUI."""

from comfyui_version import __version__

COMFYUI_VERSION = f"{__version__}+stand-in"
FRONTEND_VERSION = "1.27.10"
TEMPLATES_VERSION = "0.1.95"
