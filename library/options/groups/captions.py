"""What becomes of a caption on its way into training."""

from typing import ClassVar, Literal

from library.options.declaration import OptionGroup, option
from library.options.option_types import FileExtension

CAPTIONS = "the remaining caption options"


class CaptionOptions(OptionGroup):
    """Caption rules, one set for each subset."""

    title: ClassVar[str] = "Captions"

    caption_extension: FileExtension = option(
        ".caption", help="Suffix of the caption files beside the images, such as .txt."
    )
    caption_extention: FileExtension | None = option(
        help="Old misspelling of --caption_extension; it wins when both are given."
    )
    shuffle_caption: bool = option(False, help="Shuffle the tags of a caption each time it is used.")
    caption_separator: str = option(",", help="What separates the tags of a caption.")
    keep_tokens: int = option(0, ge=0, unit="tags", help="So many tags at the front are neither shuffled nor dropped.")
    caption_prefix: str | None = option(help="Text put before every caption.")
    caption_suffix: str | None = option(help="Text put after every caption.")
    caption_dropout_rate: float = option(
        0.0, ge=0, le=1, unit="probability", help="How often a caption is replaced by an empty one."
    )
    caption_dropout_every_n_epochs: int = option(
        0, ge=0, unit="epochs", help="Leave out all captions in every n-th epoch; 0 = never."
    )
    caption_tag_dropout_rate: float = option(
        0.0, ge=0, le=1, unit="probability", help="How often a single tag is left out."
    )
    keep_tokens_separator: str = option(
        "",
        help="Mark in captions, such as |||: tags before it, and after a second one, stay where they are; "
        "beats --keep_tokens.",
    )
    secondary_separator: str | None = option(
        help="What separates tags that are shuffled and dropped as one; becomes --caption_separator in the end."
    )
    enable_wildcard: bool = option(
        False, help="Choose among {a|b} and among the lines of a caption file each time it is used; {{ is a brace."
    )
    token_warmup_min: int = option(
        1, ge=0, unit="tags", help="Tags used at the first step of a tag warm-up.", pending=CAPTIONS
    )
    token_warmup_step: float = option(
        0, ge=0, unit="steps", help="Step, or share of the run below 1, from which all tags are used.", pending=CAPTIONS
    )


class TextOptions(OptionGroup):
    title: ClassVar[str] = "Text encoding"

    max_token_length: Literal[75, 150, 225] | None = option(
        unit="tokens", help="Longest caption; 75 when not given. Longer ones are cut, which the run reports."
    )
    weighted_captions: bool = option(
        False, help="Understand weights in captions: (tag:1.3), (tag) = 1.1, [tag] = 1/1.1. Previews always do."
    )
