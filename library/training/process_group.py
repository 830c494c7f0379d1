"""The processes of a run, for what they share before training."""

from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object

from library.caching.shared_work import Processes


def processes_of(accelerator: Accelerator) -> Processes:
    def gather(mine: Any) -> list[Any]:
        return list(gather_object([mine]))

    return Processes(accelerator.process_index, accelerator.num_processes, accelerator.wait_for_everyone, gather)
