"""Optimizers by name, and their arguments."""

import inspect
import sys

import pytest
import torch

from library.class_paths import find_class
from library.errors import UserError
from library.optimizers import known_optimizers
from library.optimizers.adapted_rates import AdaptedRate, adapted_rates
from library.optimizers.flat_adamw import FlatAdamW
from library.optimizers.known_optimizers import OPTIMIZERS, find_optimizer
from library.optimizers.optimizer_choice import choose_optimizer
from library.options.groups import OptimizerOptions


def build(name: str, *arguments: str, rate: float = 0.1, groups=None) -> torch.optim.Optimizer:
    options = OptimizerOptions(optimizer_type=name, optimizer_args=arguments or None)
    return choose_optimizer(options).build(groups or [{"params": [torch.nn.Parameter(torch.ones(2))]}], rate)


# ---- names


@pytest.mark.parametrize("name", ["", "AdamW", "adamw", "ADAMW", " AdamW "])
def test_adamw_in_any_case(name):
    choice = choose_optimizer(OptimizerOptions(optimizer_type=name))
    assert choice.optimizer_class is torch.optim.AdamW
    assert choice.describe() == "torch.optim.adamw.AdamW"


def test_every_name_is_known_once_in_any_case():
    names = [known.name for known in OPTIMIZERS]
    assert len(names) == len({name.lower() for name in names}) == 38
    for known in OPTIMIZERS:
        for name in (known.name.lower(), known.name.upper()):
            assert find_optimizer(OptimizerOptions(optimizer_type=name)) is known


def test_names_of_torch_are_those_of_torch():
    classes = {
        name
        for name, value in vars(torch.optim).items()
        if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer)
    }
    unsuitable = {"Optimizer", "LBFGS", "SparseAdam"}  # need closures, and sparse gradients
    names = {known.name for known in OPTIMIZERS if known.import_path == f"torch.optim.{known.name}"}
    assert names == classes - unsuitable - {"Adafactor"}  # which is that of transformers


@pytest.mark.parametrize("known", OPTIMIZERS, ids=lambda known: known.name)
def test_every_name_leads_to_a_class_of_that_package(known):
    choice = choose_optimizer(OptimizerOptions(optimizer_type=known.name))
    assert choice.optimizer_class.__module__.partition(".")[0] == known.package
    assert find_optimizer(OptimizerOptions(optimizer_type=known.import_path)).import_path == known.import_path


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("transformers.Adafactor", "AdaFactor"),
        ("prodigyopt.prodigy.Prodigy", "Prodigy"),
        ("torch.optim.SGD", "SGD"),
        ("bitsandbytes.optim.SGD8bit", "SGD8bit"),
        ("pytorch_optimizer.CAME", "CAME"),
    ],
)
def test_import_paths(path, name):
    found = find_optimizer(OptimizerOptions(optimizer_type=path))
    assert found.name == name
    assert not found.fixed_arguments


def test_a_class_in_the_working_directory(tmp_path, monkeypatch):
    code = "import torch\n\n\nclass Halving(torch.optim.SGD):\n    def step(self, closure=None):\n        self.n = 1\n"
    (tmp_path / "my_optimizers.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    try:
        choice = choose_optimizer(
            OptimizerOptions(optimizer_type="my_optimizers.Halving", optimizer_args=("dampening=0.5",))
        )
    finally:
        sys.modules.pop("my_optimizers", None)
    assert choice.describe() == "my_optimizers.Halving(dampening=0.5)"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AdamV", r"AdamV: there is no optimizer of that name\. Did you mean Adam\? Use one of: AdamW, Adam, "),
        ("torch..Adam", r"--optimizer_type torch\.\.Adam: an import path has names with dots between them"),
        ("no_such_package.Adam", r"--optimizer_type no_such_package\.Adam: there is no module no_such_package, [^:]*$"),
        ("pytorch_optmizer.CAME", r"there is no module pytorch_optmizer, [^:]*\. Did you mean pytorch_optimizer\?$"),
    ],
)
def test_unknown_optimizers(name, expected):
    with pytest.raises(UserError, match=expected):
        find_optimizer(OptimizerOptions(optimizer_type=name))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("torch.optim.AdamV", r"--optimizer_type torch\.optim\.AdamV: torch\.optim has no class AdamV"),
        ("pytorch_optimizer.CAMEE", r"pytorch_optimizer has no class CAMEE\. Did you mean CAME\?"),
        ("torch.nn.Linear", "Linear is no class of optimizers"),
        ("torch.optims.Adam", r"--optimizer_type torch\.optims\.Adam: there is no module torch\.optims, [^:]*$"),
    ],
)
def test_paths_that_lead_to_no_optimizer(path, expected):
    with pytest.raises(UserError, match=expected):
        choose_optimizer(OptimizerOptions(optimizer_type=path))


@pytest.mark.parametrize(
    ("options", "named", "package"),
    [
        ({"optimizer_type": "AdamW8bit"}, "--optimizer_type AdamW8bit", "bitsandbytes"),
        ({"use_8bit_adam": True}, "--use_8bit_adam", "bitsandbytes"),
        ({"use_lion_optimizer": True}, "--use_lion_optimizer", "lion-pytorch"),
        ({"optimizer_type": "prodigy"}, "--optimizer_type prodigy", "prodigyopt"),
        ({"optimizer_type": "prodigyplusschedulefree"}, "--optimizer_type", "prodigy-plus-schedule-free"),
        ({"optimizer_type": "pytorch_optimizer.CAME"}, "--optimizer_type", "pytorch-optimizer"),
    ],
)
def test_a_missing_package_is_named_with_the_option(monkeypatch, options, named, package):
    monkeypatch.setattr(known_optimizers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=f"{named}.* needs the package {package}.*pip install {package}$"):
        find_optimizer(OptimizerOptions(**options))


@pytest.mark.parametrize(
    ("options", "described"),
    [
        ({"use_8bit_adam": True}, "bitsandbytes.optim.adamw.AdamW8bit"),
        ({"use_lion_optimizer": True}, "lion_pytorch.lion_pytorch.Lion"),
        ({"optimizer_type": "SGDNesterov"}, "torch.optim.sgd.SGD(momentum=0.9,nesterov=True)"),
        (
            {"optimizer_type": "sgdnesterov8bit", "optimizer_args": ("momentum=0.5",)},
            "bitsandbytes.optim.sgd.SGD8bit(momentum=0.5,nesterov=True)",
        ),
        ({"optimizer_type": "adafactor"}, "transformers.optimization.Adafactor(relative_step=True)"),
        (
            {"optimizer_type": "adafactor", "optimizer_args": ("relative_step=False", "warmup_init=True")},
            "transformers.optimization.Adafactor(relative_step=True,warmup_init=True)",
        ),
        (
            {"optimizer_type": "prodigy", "optimizer_args": ("betas=0.9,0.99", "decouple=True")},
            "prodigyopt.prodigy.Prodigy(betas=(0.9, 0.99),decouple=True)",
        ),
        ({"optimizer_args": ("eps=1e-6",)}, "torch.optim.adamw.AdamW(eps=1e-06)"),
    ],
)
def test_descriptions(options, described):
    assert choose_optimizer(OptimizerOptions(**options)).describe() == described


# ---- arguments


def test_arguments_reach_the_optimizer():
    group = build("", "betas=0.8,0.99", "weight_decay=0.5", rate=0.25).param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.25, (0.8, 0.99), 0.5)


def test_adamw_is_flat_unless_it_cannot_be():
    assert type(build("AdamW", "eps=1e-6")) is FlatAdamW
    assert type(build("AdamW", "amsgrad=True")) is torch.optim.AdamW
    assert type(build("Adam")) is torch.optim.Adam
    choice = choose_optimizer(OptimizerOptions())
    groups = [{"params": [torch.nn.Parameter(torch.ones(2))]}]
    assert type(choice.build(groups, 0.1, in_backward=True)) is torch.optim.AdamW


@pytest.mark.parametrize(
    ("name", "argument", "expected"),
    [
        ("", "wieght_decay=0.1", r"wieght_decay: AdamW has no such argument.*Did you mean weight_decay\?"),
        ("prodigy", "weight_decouple=1", r"weight_decouple: Prodigy has no such argument; it has .*, decouple, "),
        ("", "lr=0.1", "--optimizer_args lr=0.1: give it as --learning_rate"),
        ("", "params=0", "params: AdamW has no such argument"),
        ("sgdnesterov", "nesterov=False", "--optimizer_args nesterov=False: SGDNesterov means nesterov=True"),
        ("", "amsgrad=false", "amsgrad=false: any text counts as true; write amsgrad=False"),
    ],
)
def test_arguments_that_cannot_be_meant(name, argument, expected):
    with pytest.raises(UserError, match=expected):
        choose_optimizer(OptimizerOptions(optimizer_type=name, optimizer_args=(argument,)))


@pytest.mark.parametrize(
    ("name", "argument", "expected"),
    [
        ("", "weight_decay=0,01", "weight_decay=0,01: must be a number; write weight_decay=0.01"),
        ("", "weight_decay=1,5", "weight_decay=1,5: must be a number; write weight_decay=1.5"),
        ("prodigy", "weight_decay=abc", "weight_decay=abc: must be a number; the default is 0"),
        ("prodigy", "weight_decay=true", "weight_decay=true: must be a number; the default is 0"),
        ("prodigy", "decouple=yes", "decouple=yes: must be True or False; write decouple=True"),
        ("prodigy", "decouple=0.5", "decouple=0.5: must be True or False"),
        ("", "betas=0.9 0.99", "betas=0.9 0.99: must be 2 numbers with commas between them, such as betas=0.9,0.999, "
         "the default"),
        ("", "betas=0.9,x", "betas=0.9,x: must be 2 numbers with commas between them, such as betas=0.9,0.999, the "
         "default"),
        ("", "weight_decay=0.01 betas=0.9,0.99", "weight_decay=0.01 betas=0.9,0.99: these are several arguments; give "
         'each its own quotes: --optimizer_args "weight_decay=0.01" "betas=0.9,0.99"'),
    ],
)  # fmt: skip
def test_values_of_another_kind_than_the_default(name, argument, expected):
    with pytest.raises(UserError) as caught:
        choose_optimizer(OptimizerOptions(optimizer_type=name, optimizer_args=(argument,)))
    assert caught.value.problems == (f"--optimizer_args {expected}",)


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("ProdigyPlusScheduleFree", "eps=None"), ("prodigy", "decouple=1"), ("prodigy", "betas=[0.9, 0.99]"),
        ("torch.optim.Adafactor", "eps=None,1e-3"), ("adafactor", "clip_threshold=2"), ("AdamW", "foreach=True"),
    ],
)  # fmt: skip
def test_values_that_a_class_takes(name, argument):
    assert choose_optimizer(OptimizerOptions(optimizer_type=name, optimizer_args=(argument,))).arguments


def test_all_wrong_arguments_are_told_together():
    given = ("decople=True", "weight_decay=0,01", "decouple=true", "use_bias_correction=yes", "lr=1")
    with pytest.raises(UserError) as caught:
        choose_optimizer(OptimizerOptions(optimizer_type="prodigy", optimizer_args=given))
    assert [problem.split()[1].partition("=")[0].rstrip(":") for problem in caught.value.problems] == [
        "decople", "weight_decay", "decouple", "use_bias_correction", "lr",
    ]  # fmt: skip


@pytest.mark.parametrize("arguments", [("betas=2,3",), ("fused=True", "foreach=True")])
def test_what_a_constructor_refuses_is_known_before_there_is_anything_to_train(arguments):
    with pytest.raises(UserError, match=r"^--optimizer_type AdamW: AdamW refuses its arguments \("):
        choose_optimizer(OptimizerOptions(optimizer_args=arguments))


def test_a_package_that_lacks_another_one(tmp_path, monkeypatch):
    """The user's word is kept, and what helps is said only for packages that are known."""
    (tmp_path / "half_installed.py").write_text("import no_such_package\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    reason = "importing half_installed needs the module no_such_package, which is not installed"
    with pytest.raises(UserError, match=f"^--optimizer_type half_installed.Adam: {reason}$"):
        choose_optimizer(OptimizerOptions(optimizer_type="half_installed.Adam"))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=f"^--optimizer_type Prodigy: {reason}: pip install prodigyopt$"):
        find_class("half_installed.Adam", "--optimizer_type Prodigy", "prodigyopt")


def test_a_package_that_is_there_but_cannot_be_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "prodigyopt", None)
    monkeypatch.setattr(known_optimizers.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(UserError, match=r"^--optimizer_type Prodigy: there is no module prodigyopt.*: pip install "):
        choose_optimizer(OptimizerOptions(optimizer_type="Prodigy"))


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("", ("betas=2,3",), r"AdamW refuses its arguments \(betas=\(2, 3\)\): Invalid beta"),
        ("", ("fused=True", "foreach=True"), "cannot be `True` together"),
        ("", ("capturable=True",), "capturable"),  # refused by the first step only
        ("", ("differentiable=True",), "requires grad"),
        ("prodigy", ("d0=0",), "Invalid d0 value"),
        ("lion", ("betas=2,2",), "Lion refuses its arguments"),
        ("torch.optim.SparseAdam", (), "SparseAdam refuses what it is to train: .*dense gradients"),
        ("torch.optim.LBFGS", (), "LBFGS refuses what it is to train"),
        ("Muon", (), "only supports 2D parameters.*; it moves matrices only.*use another optimizer, such as AdamW"),
    ],
)
def test_refused_values(name, arguments, reason):
    weight = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(UserError, match=f"^--optimizer_type.*{reason}"):
        build(name, *arguments, groups=[{"params": [weight]}])
    assert weight.tolist() == [1.0, 1.0]
    assert weight.grad is None


def test_the_trial_step_leaves_no_trace(capsys):
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = build("prodigy", "weight_decay=0.5", groups=[{"params": [weight]}])
    assert weight.tolist() == [1.0, 1.0]
    assert weight.grad is None
    assert not optimizer.state
    assert capsys.readouterr().out.count("decoupled") == 1


# ---- learning rates


def two_groups(first: float, second: float) -> list[dict]:
    return [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": rate} for rate in (first, second)]


def test_different_rates_are_refused_by_what_finds_one_for_all():
    with pytest.raises(UserError, match="Prodigy refuses what it is to train: Setting different lr values"):
        build("prodigy", groups=two_groups(1.0, 0.5))
    assert [group["lr"] for group in build("prodigyplusschedulefree", groups=two_groups(1.0, 0.5)).param_groups] == [
        1.0,
        0.5,
    ]


@pytest.mark.parametrize("name", ["lion", "prodigy", "AdamW"])
def test_a_default_rate_of_zero_that_nothing_has(name):
    optimizer = build(name, rate=0.0, groups=two_groups(0.5, 0.5))
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]


def test_adafactor_has_its_own_rates():
    groups = two_groups(0.5, 0.25)
    relative = build("adafactor", groups=groups)
    assert [group["lr"] for group in relative.param_groups] == [None, None]
    assert [group["lr"] for group in groups] == [0.5, 0.25]
    given = build("adafactor", "relative_step=False", groups=groups)
    assert [group["lr"] for group in given.param_groups] == [0.5, 0.25]


def stepped(name: str, *arguments: str, groups=None) -> torch.optim.Optimizer:
    optimizer = build(name, *arguments, rate=0.5, groups=groups)
    for number in range(4):
        for group in optimizer.param_groups:
            for weight in group["params"]:
                weight.grad = torch.full_like(weight, 1.0 + number)
        optimizer.step()
    return optimizer


@pytest.mark.parametrize(
    "name",
    [
        "Prodigy", "DAdaptation", "DAdaptAdaGrad", "DAdaptAdam", "DAdaptAdan", "DAdaptAdanIP", "DAdaptLion",
        "DAdaptSGD", "ProdigyPlusScheduleFree", "pytorch_optimizer.Prodigy", "pytorch_optimizer.DAdaptAdam",
    ],
)  # fmt: skip
def test_found_rates(name):
    optimizer = stepped(name, groups=two_groups(0.5, 0.5))
    rates = adapted_rates(optimizer)
    assert len(rates) == 2
    for rate, group in zip(rates, optimizer.param_groups, strict=True):
        assert float(rate.d) == pytest.approx(float(group["d"]))
        assert float(rate.rate) == pytest.approx(0.5 * float(rate.d))
        assert float(rate.d) > 0


def test_found_rates_are_of_their_step():
    d = torch.tensor(0.25)
    optimizer = torch.optim.SGD([{"params": [torch.nn.Parameter(torch.ones(1))], "d": d}], lr=2.0)
    (rate,) = adapted_rates(optimizer)
    d.fill_(1.0)
    assert rate == AdaptedRate(torch.tensor(0.25), torch.tensor(0.5))


@pytest.mark.parametrize("name", ["AdamW", "adafactor", "AdamWScheduleFree", "Lion"])
def test_others_find_no_rate(name):
    assert adapted_rates(build(name)) == ()


def test_a_shared_rate_is_that_of_all():
    optimizer = stepped("ProdigyPlusScheduleFree", "split_groups_mean=True", groups=two_groups(0.5, 0.25))
    first, second = adapted_rates(optimizer)
    assert first.d == second.d == optimizer.param_groups[0]["shared_d"]
    assert (first.rate, second.rate) == (0.5 * first.d, 0.25 * first.d)
