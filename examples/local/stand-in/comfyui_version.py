"""The version of ComfyUI that the stand-in answers like, where ComfyUI's own version is found."""

__version__ = "0.3.64"
