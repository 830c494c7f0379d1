"""Keeps packages out of the process that no option asked for.

diffusers imports xformers and bitsandbytes wherever they are installed: that costs seconds, and a copy that
does not fit the installed PyTorch prints warnings or fails, although nobody wants to use it.
"""

from collections.abc import Collection

OPTIONAL_PACKAGES = ("xformers", "bitsandbytes")


def hide_unused_packages(wanted: Collection[str]) -> None:
    """To be called before anything else imports from diffusers."""
    from diffusers.utils import import_utils

    for package in OPTIONAL_PACKAGES:
        if package not in wanted:
            setattr(import_utils, f"_{package}_available", False)
