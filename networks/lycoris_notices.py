"""What users of lycoris.kohya (LyCORIS 4.1) should know of their arguments before a run. Imports nothing heavy."""

from collections.abc import Iterator, Mapping
from typing import Any

LYCORIS = "lycoris.kohya"


def lycoris_notices(module: str, arguments: Mapping[str, Any]) -> list[str]:
    """Warnings on --network_args of LyCORIS; none for other modules."""
    return [f"--network_args {notice}" for notice in _notices(arguments)] if module == LYCORIS else []


def _notices(arguments: Mapping[str, Any]) -> Iterator[str]:
    algo = str(arguments.get("algo") or "lora").lower()
    if _is_on(arguments, "dora_wd", default=False) and _is_on(arguments, "wd_on_output", default=True):
        yield (
            "dora_wd=True: LyCORIS keeps one magnitude for each output, which A1111 reads wrongly, and ComfyUI, Forge "
            "and reForge apply with the norm of the unchanged weights; SD.Next reads it right. With wd_on_output=False "
            "all of them read the file right. diffusers ignores the magnitudes in either case"
        )
    if algo == "tlora":
        yield "algo=tlora: no program reads its files, and its masks, which depend on the timestep, are never set here"
    if algo == "lokr" and _is_on(arguments, "use_tucker", default=False):
        yield "use_tucker=True: ComfyUI cannot read that form of LoKr; leave it out"
    if _is_on(arguments, "rank_dropout_scale", default=False):
        yield "rank_dropout_scale=True: LyCORIS does not read it for networks of kohya's form; leave it out"
    if algo == "lokr" and str(arguments.get("decompose_both", "")).lower() == "false":
        yield "decompose_both=False: LyCORIS takes any text for true; leave it out"
    if arguments.get("preset") == "ia3":
        yield (
            "preset=ia3: LyCORIS compares its names with the beginnings of paths, and finds no layer of SD or SDXL; "
            "use algo=ia3 with preset=attn-mlp"
        )


def _is_on(arguments: Mapping[str, Any], name: str, default: bool) -> bool:
    """As LyCORIS reads switches."""
    return str(arguments.get(name, default)).lower() != "false"
