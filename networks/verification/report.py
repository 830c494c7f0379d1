"""What is known of a network file, as lines of text."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from library.wording import counted, listed
from networks.files.client_support import CLIENTS, Misreading
from networks.verification.block_strengths import BlockStrength
from networks.verification.file_contents import FileContents

_MOST_NAMES = 3
_MOST_SIZES = 12
_BAR_LENGTH = 30


def describe_families(names: Sequence[str]) -> Iterator[str]:
    """Args: names: of the model families that the network may belong to; none if that is not known."""
    if names:
        yield f"for models of {' or '.join(names)}"


def describe_contents(contents: FileContents) -> Iterator[str]:
    forms = ", ".join(f"{form.value} ({count})" for form, count in contents.forms.items())
    yield f"{counted(len(contents.layers), 'layer')}: {forms}"
    precisions = ", ".join(f"{count} in {dtype}" for dtype, count in contents.dtypes.most_common())
    yield f"tensors: {precisions}; largest value {contents.largest:.3g}"
    yield from _describe_sizes(contents)


def _describe_sizes(contents: FileContents) -> Iterator[str]:
    ranked = Counter({size: count for size, count in contents.sizes.items() if size is not None})
    if not ranked:
        return
    yield "  rank  alpha  scale  layers"
    for (rank, alpha), count in ranked.most_common(_MOST_SIZES):
        scale = "-" if alpha is None or not rank else f"{alpha / rank:.3g}"
        yield f"{rank:>6} {'-' if alpha is None else f'{alpha:g}':>6} {scale:>6} {count:>7}"
    others = len(ranked) - _MOST_SIZES
    if others > 0:
        yield f"  and {counted(others, 'other pair')}"
    without = contents.sizes[None]
    if without:
        yield f"  {counted(without, 'layer')} without a rank"


def describe_faults(contents: FileContents) -> Iterator[str]:
    """What makes the file useless, in part or as a whole."""
    if contents.not_finite:
        yield (
            f"NaN or infinity in {counted(len(contents.not_finite), 'tensor')}: "
            f"{listed(contents.not_finite, _MOST_NAMES)}; pictures made with it will be black or noise"
        )
    if contents.unknown:
        yield (
            f"{counted(len(contents.unknown), 'layer')} of a kind that is not known here: "
            f"{listed(contents.unknown, _MOST_NAMES)}"
        )


def describe_match(in_file: Sequence[str], in_model: Collection[str]) -> Iterator[str]:
    """Which of a file's layers a model has."""
    missing = [name for name in in_file if name not in in_model]
    if missing:
        yield (
            f"{len(missing)} of {counted(len(in_file), 'layer')} belong to no layer of the model: "
            f"{listed(missing, _MOST_NAMES)}"
        )
    else:
        yield f"all {len(in_file)} layers belong to layers of the model"


def describe_strengths(strengths: Sequence[BlockStrength]) -> Iterator[str]:
    """A table with bars: the size of the change relative to the weights, block by block."""
    largest = max((strength.relative for strength in strengths), default=0.0)
    width = max((len(strength.block) for strength in strengths), default=0)
    yield "size of the change relative to the weights:"
    for strength in strengths:
        bar = "#" * round(_BAR_LENGTH * strength.relative / largest) if largest else ""
        layers = f"{counted(strength.layers, 'layer')}, at most {strength.strongest.relative:.3%}"
        yield f"  {strength.block:<{width}} {strength.relative:8.3%} {bar:<{_BAR_LENGTH}} {layers}"


def describe_clients(misreadings: Sequence[Misreading]) -> Iterator[str]:
    """What each client does with the file."""
    for client in CLIENTS:
        effects = [f"{each.form.value}: {each.effect}" for each in misreadings if each.client == client]
        yield f"  {client}: {'; '.join(effects) or 'exact'}"
