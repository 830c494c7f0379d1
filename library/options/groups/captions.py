"""What becomes of a caption on its way into training."""

from typing import ClassVar, Literal

from library.options.declaration import OptionGroup, option
from library.options.option_types import FileExtension, Separator

DEFAULT_EXTENSIONS = (".caption", ".txt")
"""Of caption files, where none is named: the first that exists is used."""


class CaptionOptions(OptionGroup):
    """Caption rules, one set for each subset."""

    title: ClassVar[str] = "Captions"

    caption_extension: FileExtension | None = option(
        help="Suffix of the caption files beside the images, such as .txt. If it is not given, .caption files are "
        "used, and .txt files where an image has none."
    )
    caption_extention: FileExtension | None = option(
        help="Old misspelling of --caption_extension; it wins when both are given."
    )
    shuffle_caption: bool = option(False, help="Shuffle the tags of a caption each time it is used.")
    caption_separator: Separator = option(",", help="What separates the tags of a caption.")
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
        1, ge=0, unit="tags", help="How many of the tags that may move the first step of a tag warm-up uses."
    )
    token_warmup_step: float = option(
        0,
        ge=0,
        unit="steps",
        help="Step, or share of the run below 1, from which all tags are used; until then there are more and more of "
        "them, from the front of the caption. 0 = no such warm-up.",
    )
    allow_missing_captions: bool = option(
        False, help="Start even if more than a tenth of the images have neither a caption nor class words."
    )

    @property
    def caption_extensions(self) -> tuple[str, ...]:
        """What caption files are looked for, the preferred ones first."""
        return DEFAULT_EXTENSIONS if self.caption_extension is None else (self.caption_extension,)

    @property
    def takes_tags_apart(self) -> bool:
        """Whether captions are split into tags: those that are not are used as written."""
        return self.shuffle_caption or self.caption_tag_dropout_rate > 0 or self.token_warmup_step > 0


class TextOptions(OptionGroup):
    title: ClassVar[str] = "Text encoding"

    max_token_length: Literal[75, 150, 225] | None = option(
        unit="tokens", help="Longest caption; 75 when not given. Longer ones are cut, which the run reports."
    )
    weighted_captions: bool = option(
        False, help="Understand weights in captions: (tag:1.3), (tag) = 1.1, [tag] = 1/1.1. Previews always do."
    )
