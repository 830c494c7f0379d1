"""Optimizers by name: where each is, and what it needs. Imports none of them."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from library.class_paths import no_module
from library.errors import UserError
from library.options.chosen_optimizer import ChosenOptimizer
from library.options.groups import OptimizerOptions
from library.options.suggestions import suggest
from library.working_directory import search_working_directory

PACKAGES: Mapping[str, str] = {
    "came_pytorch": "came-pytorch",
    "lion_pytorch": "lion-pytorch",
    "prodigyplus": "prodigy-plus-schedule-free",
    "pytorch_optimizer": "pytorch-optimizer",
}
"""Import name -> name for pip, where they differ."""


@dataclass(frozen=True)
class KnownOptimizer:
    name: str
    import_path: str
    fixed_arguments: Mapping[str, Any] = field(default_factory=dict)
    """always given to the class, whatever --optimizer_args say"""
    default_arguments: Mapping[str, Any] = field(default_factory=dict)
    """given unless --optimizer_args say otherwise"""
    steps_single_weights: bool = True
    """What it does to a weight depends on that weight alone, so that it can be done during the backward pass."""

    @property
    def package(self) -> str:
        """By its import name."""
        return self.import_path.partition(".")[0]

    @property
    def pip_name(self) -> str:
        """Empty for a package that has no optimizer with a name: what pip would install might be something else."""
        if self.package in PACKAGES:
            return PACKAGES[self.package]
        return self.package if any(known.package == self.package for known in OPTIMIZERS) else ""

    @property
    def is_installed(self) -> bool:
        try:
            return importlib.util.find_spec(self.package) is not None
        except ValueError:  # a module that something else put into sys.modules without a spec
            return True


def _of_torch(*names: str) -> tuple[KnownOptimizer, ...]:
    return tuple(KnownOptimizer(name, f"torch.optim.{name}") for name in names)


def _of_bitsandbytes(*names: str) -> tuple[KnownOptimizer, ...]:
    return tuple(KnownOptimizer(name, f"bitsandbytes.optim.{name}") for name in names)


def _of_all_weights(name: str, import_path: str) -> KnownOptimizer:
    """What it does to a weight depends on what it has seen of all."""
    return KnownOptimizer(name, import_path, steps_single_weights=False)


OPTIMIZERS = (
    *_of_torch(
        "AdamW", "Adam", "SGD", "RMSprop", "Adagrad", "Adadelta", "Adamax", "ASGD", "NAdam", "RAdam", "Rprop", "Muon"
    ),
    KnownOptimizer(
        "SGDNesterov", "torch.optim.SGD", fixed_arguments={"nesterov": True}, default_arguments={"momentum": 0.9}
    ),
    *_of_bitsandbytes("AdamW8bit", "PagedAdamW", "PagedAdamW8bit", "PagedAdamW32bit", "Lion8bit", "PagedLion8bit"),
    KnownOptimizer(
        "SGDNesterov8bit", "bitsandbytes.optim.SGD8bit",
        fixed_arguments={"nesterov": True}, default_arguments={"momentum": 0.9},
    ),
    *_of_bitsandbytes("AdEMAMix8bit", "PagedAdEMAMix8bit"),
    KnownOptimizer("Lion", "lion_pytorch.Lion"),
    KnownOptimizer(
        "AdaFactor", "transformers.optimization.Adafactor", default_arguments={"relative_step": True}
    ),
    KnownOptimizer("CAME", "came_pytorch.CAME"),
    _of_all_weights("Prodigy", "prodigyopt.Prodigy"),
    _of_all_weights("DAdaptation", "dadaptation.experimental.DAdaptAdamPreprint"),
    _of_all_weights("DAdaptAdamPreprint", "dadaptation.experimental.DAdaptAdamPreprint"),
    _of_all_weights("DAdaptAdaGrad", "dadaptation.DAdaptAdaGrad"),
    _of_all_weights("DAdaptAdam", "dadaptation.DAdaptAdam"),
    _of_all_weights("DAdaptAdan", "dadaptation.DAdaptAdan"),
    _of_all_weights("DAdaptAdanIP", "dadaptation.experimental.DAdaptAdanIP"),
    _of_all_weights("DAdaptLion", "dadaptation.DAdaptLion"),
    _of_all_weights("DAdaptSGD", "dadaptation.DAdaptSGD"),
    _of_all_weights("AdamWScheduleFree", "schedulefree.AdamWScheduleFree"),
    _of_all_weights("RAdamScheduleFree", "schedulefree.RAdamScheduleFree"),
    _of_all_weights("SGDScheduleFree", "schedulefree.SGDScheduleFree"),
    _of_all_weights("ProdigyPlusScheduleFree", "prodigyplus.ProdigyPlusScheduleFree"),
)  # fmt: skip


def find_optimizer(options: OptimizerOptions) -> KnownOptimizer:
    """The optimizer that the options name, without importing it.

    Raises:
        UserError: there is none of that name, its package is not installed, or it cannot step as it is to.
    """
    chosen = ChosenOptimizer(options)
    found = _by_path(chosen) if "." in chosen.name else _by_name(chosen)
    if options.fused_backward_pass and not found.steps_single_weights:
        raise UserError(_why_not_in_backward(chosen))
    search_working_directory()
    if found.is_installed:
        return found
    if found.pip_name:
        raise UserError(
            f"{chosen.named} needs the package {found.pip_name}, which is not installed: pip install {found.pip_name}"
        )
    known_packages = {*PACKAGES, *(known.package for known in OPTIMIZERS)}
    raise UserError(f"{chosen.named}: {no_module(found.package)}.{suggest(found.package, sorted(known_packages))}")


def _why_not_in_backward(chosen: ChosenOptimizer) -> str:
    what = "may look at all weights together" if "." in chosen.name else "looks at all weights together"
    names = [known.name for known in OPTIMIZERS if known.steps_single_weights]
    return (
        f"--fused_backward_pass with {chosen.name}, which {what}, while here each weight moves by itself; leave it "
        f"out, or use one of: {', '.join(names)}"
    )


def _by_name(chosen: ChosenOptimizer) -> KnownOptimizer:
    known = {known.name.lower(): known for known in OPTIMIZERS}
    if chosen.name.lower() not in known:
        names = [known.name for known in OPTIMIZERS]
        raise UserError(
            f"--optimizer_type {chosen.name}: there is no optimizer of that name.{suggest(chosen.name, names)} "
            f"Use one of: {', '.join(names)}, or the import path of a class such as pytorch_optimizer.AdaBelief"
        )
    return known[chosen.name.lower()]


def _by_path(chosen: ChosenOptimizer) -> KnownOptimizer:
    """A class that has a name here, too, is what that name means, wherever in its package it is found."""
    parts = chosen.name.split(".")
    if not all(part.isidentifier() for part in parts):
        raise UserError(
            f"--optimizer_type {chosen.name}: an import path has names with dots between them, such as torch.optim.Adam"
        )
    for known in OPTIMIZERS:
        class_name = known.import_path.rpartition(".")[2]
        if known.package == parts[0] and class_name == parts[-1] and class_name.lower() == known.name.lower():
            return replace(known, import_path=chosen.name)
    return _of_all_weights(parts[-1], chosen.name)
