"""Loads a model and does nothing else; prints as JSON what that took, in bytes. Started by full_size.py.

python benchmarks/loading_memory.py sdxl model.safetensors float32
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.full_size_models import FULL_SIZE
from benchmarks.process_memory import forget_highest, memory_of
from library.models.adapter import ModelAdapter
from library.models.adapter_loading import load_model
from library.models.checkpoints import single_file  # noqa: F401 - imports are not to count as loading
from library.models.model_parts import ModelPrecision, ModelRequest
from library.models.model_source import ModelSource, SourceKind


def main() -> int:
    name, file, precision = sys.argv[1:]
    dtype = getattr(torch, precision)
    source = ModelSource(SourceKind.FILE, file)
    forget_highest()
    before, start = memory_of(), time.monotonic()
    model = load_model(ModelRequest(source, FULL_SIZE[name].family, ModelPrecision(weights=dtype, vae=dtype)))
    seconds, after = time.monotonic() - start, memory_of()
    report = {
        "seconds": seconds,
        "weights": bytes_of_weights(model),
        "highest": after.highest_resident - before.resident,
        "anonymous_afterwards": after.anonymous - before.anonymous,
    }
    print(json.dumps(report))
    return 0


def bytes_of_weights(model: ModelAdapter) -> int:
    views = model.views()
    parameters = [one for part in (views.unet, *views.text_encoders, views.vae) for one in part.parameters()]
    return sum(parameter.nbytes for parameter in parameters)


if __name__ == "__main__":
    sys.exit(main())
