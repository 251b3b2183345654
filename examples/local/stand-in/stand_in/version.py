"""Which ComfyUI the stand-in answers like. The suffix says to whoever reads it that this is not ComfyUI."""

COMFYUI_VERSION = "0.3.64+stand-in"
FRONTEND_VERSION = "1.27.10"
TEMPLATES_VERSION = "0.1.95"
