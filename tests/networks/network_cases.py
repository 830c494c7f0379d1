"""Every kind of network with its main variants, and what of the matrix of tests does not concern it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

RANK, ALPHA = 4, 2.0
CONVOLUTIONS = {"conv_dim": "2", "conv_alpha": "1"}
EVERYWHERE = {"preset": "full"}
PER_OUTPUT = {"wd_on_output": "True"}
DORA = {"dora_wd": "True"}


@dataclass(frozen=True)
class NetworkCase:
    module: str
    arguments: Mapping[str, str] = field(default_factory=dict)


def _case(name: str, *arguments: Mapping[str, str], **more: str) -> NetworkCase:
    merged: dict[str, str] = {}
    for group in arguments:
        merged |= group
    return NetworkCase(f"networks.{name}", merged | more)


CASES: Mapping[str, NetworkCase] = {
    "lora": _case("lora"),
    "lora, convolutions": _case("lora", CONVOLUTIONS),
    "lora, tucker": _case("lora", CONVOLUTIONS, use_tucker="True"),
    "lora, rank-stabilised": _case("lora", rs_lora="True"),
    "lora, scalar": _case("lora", CONVOLUTIONS, use_scalar="True"),
    "lora, orthogonal": _case("lora", CONVOLUTIONS, init="orthogonal"),
    "lora, pissa": _case("lora", CONVOLUTIONS, init="pissa"),
    "lora, norms": _case("lora", CONVOLUTIONS, train_norm="True"),
    "lora, decomposed": _case("lora", DORA),
    "locon": _case("locon", CONVOLUTIONS),
    "dora": _case("dora", CONVOLUTIONS),
    "dora per output": _case("dora", CONVOLUTIONS, PER_OUTPUT),
    "dora, norm gradient": _case("dora", CONVOLUTIONS, norm_gradient="True"),
    "dora per output, norm gradient": _case("dora", CONVOLUTIONS, PER_OUTPUT, norm_gradient="True"),
    "dora, tucker and scalar": _case("dora", CONVOLUTIONS, use_tucker="True", use_scalar="True"),
    "dora, pissa": _case("dora", init="pissa"),
    "lora_fa": _case("lora_fa", CONVOLUTIONS),
    "lora_fa, rank-stabilised": _case("lora_fa", rs_lora="True"),
    "dylora": _case("dylora", CONVOLUTIONS, unit="2"),
    "loha": _case("loha"),
    "loha, convolutions": _case("loha", CONVOLUTIONS),
    "loha, tucker": _case("loha", CONVOLUTIONS, use_tucker="True"),
    "loha, scalar": _case("loha", CONVOLUTIONS, use_scalar="True"),
    "loha, decomposed": _case("loha", CONVOLUTIONS, DORA),
    "loha, decomposed per output": _case("loha", CONVOLUTIONS, DORA, PER_OUTPUT),
    "lokr": _case("lokr"),
    "lokr, convolutions": _case("lokr", CONVOLUTIONS),
    "lokr, factor": _case("lokr", CONVOLUTIONS, factor="2"),
    "lokr, full matrix": _case("lokr", CONVOLUTIONS, full_matrix="True"),
    "lokr, both divided": _case("lokr", decompose_both="True", factor="2", network_reg_dims="attn=1"),
    "lokr, scalar": _case("lokr", CONVOLUTIONS, use_scalar="True"),
    "lokr, decomposed": _case("lokr", CONVOLUTIONS, DORA, norm_gradient="True"),
    "lokr, decomposed per output": _case("lokr", CONVOLUTIONS, DORA, PER_OUTPUT),
    "ia3": _case("ia3"),
    "ia3 on inputs": _case("ia3", EVERYWHERE, train_on_input="True"),
    "ia3 on outputs": _case("ia3", EVERYWHERE, train_on_input="False"),
    "oft": _case("oft"),
    "oft, constrained": _case("oft", EVERYWHERE, constraint="0.01"),
    "oft, rescaled": _case("oft", EVERYWHERE, rescaled="True", network_dim_is="block_size"),
    "boft": _case("boft"),
    "boft, constrained and rescaled": _case("boft", EVERYWHERE, constraint="0.01", rescaled="True"),
    "glora": _case("glora"),
    "glora, convolutions": _case("glora", CONVOLUTIONS),
    "full": _case("full"),
    "full, everywhere": _case("full", EVERYWHERE, train_norm="True"),
}

EXCEPTIONS: Mapping[str, Mapping[str, str]] = {
    "network_dropout": dict.fromkeys(("loha", "lokr", "glora"), "its factors are not computed with one by one")
    | dict.fromkeys(("ia3", "full"), "there are no factors")
    | dict.fromkeys(("oft", "boft"), "a part of a rotation is none"),
    "rank_dropout": dict.fromkeys(("ia3", "full"), "there is no rank")
    | dict.fromkeys(("oft", "boft"), "a part of a rotation is none")
    | {"dylora": "the rank is drawn as it is"},
}
"""Property -> kind of network that does not have it -> why."""
