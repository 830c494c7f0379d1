"""The kinds of finding: a stable code, how serious it is, what it means and what to do."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any


class Severity(StrEnum):
    ERROR = "error"
    """Training would leave something out, or train on something that is certainly not what was meant."""
    WARNING = "warning"
    """Probably not what was meant."""
    INFO = "info"
    """Good to know; nothing needs to be done."""


@dataclass(frozen=True)
class Kind:
    code: str
    """Topic and name; never changes, so that scripts may rely on it."""
    severity: Severity
    meaning: str
    remedy: str


@dataclass(frozen=True)
class Finding:
    kind: Kind
    files: tuple[Path, ...]
    """The first is the one that it is about; no more than one unless files belong together."""
    message: str
    """What is special about this case; may be empty."""
    details: dict[str, Any] = field(default_factory=dict)
    """The message's numbers, for programs."""


_KINDS: dict[str, Kind] = {}


def _kind(code: str, severity: Severity, meaning: str, remedy: str = "") -> Kind:
    _KINDS[code] = Kind(code, severity, meaning, remedy)
    return _KINDS[code]


def all_kinds() -> tuple[Kind, ...]:
    return tuple(_KINDS.values())


_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFO

RUN_REFUSED = _kind("run.refused", _E, "Training would not start with this dataset. It would say:")

FOLDER_UNUSED = _kind(
    "folder.unused",
    _W,
    "Images that no training will see, since their folder is not searched.",
    "Move them into a folder that is, such as '10_sks dog', or name theirs in a dataset file.",
)
FOLDER_JUNK = _kind(
    "folder.junk",
    _I,
    "Leftovers of the operating system.",
    "They do no harm; --fix moves them to the backup folder.",
)

IMAGE_EMPTY = _kind("image.empty", _E, "Empty files.", "Copy them again from where they came, or delete them.")
IMAGE_CUT_SHORT = _kind(
    "image.cut_short",
    _E,
    "Images that are cut short or damaged: some of their pixels are gone.",
    "Training leaves them out. Copy or download them again.",
)
IMAGE_UNREADABLE = _kind(
    "image.unreadable",
    _E,
    "Files with the name of an image that cannot be read.",
    "Training leaves them out. Replace or delete them.",
)
IMAGE_UNSUPPORTED = _kind(
    "image.unsupported",
    _E,
    "Pictures in formats that cannot be read here.",
    "Training leaves them out. Save them as .png.",
)
IMAGE_SAME_NAME = _kind(
    "image.same_name",
    _W,
    "Images that differ in nothing but the extension: they share one caption file.",
    "Rename one of them, or delete it if it is the same picture.",
)
IMAGE_MISLABELLED = _kind(
    "image.mislabelled",
    _W,
    "The extension names another format than the file has.",
    "Training reads them all the same, some programs do not; --fix renames them.",
)
IMAGE_ANIMATED = _kind(
    "image.animated", _W, "Animations and files with several pages.", "Only the first picture is trained on."
)
IMAGE_PLAIN = _kind(
    "image.plain",
    _W,
    "Images of one single colour.",
    "Often a failed download or export. Look at them, and delete them if so.",
)
IMAGE_HUGE = _kind(
    "image.huge",
    _W,
    "Images of very many pixels.",
    "Each use costs seconds and memory. Save smaller copies, or train with --cache_latents.",
)
IMAGE_TRANSPARENT = _kind(
    "image.transparent",
    _I,
    "Images with transparent parts.",
    "Training shows these parts white (with --alpha_mask they are left out of the loss).",
)
IMAGE_TURNED = _kind(
    "image.turned",
    _I,
    "Photos that lie on their side and are turned upright by a note of the camera.",
    "Training turns them, as viewers do. Programs that do not know the note show them lying.",
)
IMAGE_DEEP = _kind(
    "image.deep",
    _I,
    "Images with more than 8 bits per channel.",
    "Training reduces them to 8 bits.",
)
IMAGE_PRINT_COLOURS = _kind(
    "image.print_colours",
    _I,
    "Images in print colours (CMYK).",
    "Training converts them without their colour profile: colours may look too bright. Convert them to sRGB yourself "
    "if they matter.",
)

LEAK_VALIDATION = _kind(
    "leak.validation",
    _W,
    "Pictures that are trained on and validated on as well.",
    "The validation loss looks better than it is. Delete the copies.",
)
LEAK_REGULARISATION = _kind(
    "leak.regularisation",
    _W,
    "Pictures that are trained on and used for regularisation as well.",
    "The two pull against each other. Take them out of the regularisation images.",
)
DUPLICATE_EXACT = _kind(
    "duplicate.exact",
    _W,
    "The same file several times.",
    "The picture counts several times as much as others. Delete the copies; to repeat on purpose, use repeats.",
)
DUPLICATE_NEAR = _kind(
    "duplicate.near",
    _W,
    "Nearly the same picture several times: resized, saved again, or a neighbouring frame.",
    "Such pictures are learned by heart first. Look at them (--contact_sheet FILE.html) and keep the best.",
)
DUPLICATE_MIRRORED = _kind(
    "duplicate.mirrored",
    _I,
    "A picture and its mirror image.",
    "--flip_aug does that for all images, without files of their own.",
)

SIZE_TOO_SMALL = _kind(
    "size.too_small",
    _E,
    "Images that are too small for any bucket.",
    "Training leaves them out. Use larger originals.",
)
SIZE_ENLARGED = _kind(
    "size.enlarged",
    _W,
    "Images that are enlarged a lot and will look blurred.",
    "Use larger originals, a smaller resolution, or --bucket_no_upscale.",
)
SIZE_CROPPED = _kind(
    "size.cropped",
    _W,
    "Images of which a large part is cut off.",
    "Crop them yourself to what matters, or widen --min_bucket_reso and --max_bucket_reso.",
)
SIZE_EXTREME_RATIO = _kind(
    "size.extreme_ratio",
    _W,
    "Images that are very long and narrow.",
    "They hardly ever look good at the size they are trained at. Cut them into parts.",
)

CAPTION_UNREADABLE = _kind(
    "caption.unreadable", _E, "Caption files that cannot be read as text.", "Save them as UTF-8."
)
CAPTION_MISSING = _kind(
    "caption.missing",
    _W,
    "Images without a caption file.",
    "Write one: a text file of the same name. Without, the text shown here is their caption.",
)
CAPTION_CLASS_WORDS = _kind(
    "caption.class_words",
    _I,
    "Regularisation images without captions of their own: the class words of their folder are their caption.",
    "That is the usual way.",
)
CAPTION_OTHER_EXTENSION = _kind(
    "caption.other_extension",
    _W,
    "Images whose caption file has another extension than --caption_extension says.",
    "Give --caption_extension to use these files.",
)
CAPTION_TWO_FILES = _kind(
    "caption.two_files",
    _W,
    "Images with two caption files, of which one is used.",
    "Delete the other, or say with --caption_extension which are the captions.",
)
CAPTION_EMPTY = _kind(
    "caption.empty",
    _W,
    "Empty captions.",
    "Whatever these images show becomes part of every picture. Write what is to be seen.",
)
CAPTION_TOO_LONG = _kind(
    "caption.too_long",
    _W,
    "Captions whose end is cut off, since they have too many tokens.",
    "Shorten them, or give a larger --max_token_length (75, 150 or 225).",
)
CAPTION_UNUSED_LINES = _kind(
    "caption.unused_lines",
    _W,
    "Caption files of several lines, of which only the first is used.",
    "Join the lines, or give --enable_wildcard to have one of them chosen for each use.",
)
CAPTION_ENCODING = _kind(
    "caption.encoding",
    _W,
    "Caption files that are not UTF-8.",
    "Training reads them, other programs stop; --fix saves UTF-16 as UTF-8. Other encodings are guessed: look whether "
    "the text shown here is right; if so, --fix --encoding NAME (such as cp1252) saves these files as UTF-8.",
)
CAPTION_MARK = _kind(
    "caption.byte_order_mark",
    _I,
    "Caption files that begin with an invisible mark (BOM).",
    "Training ignores it, some programs take it for a letter; --fix removes it.",
)
CAPTION_ORPHAN = _kind(
    "caption.orphan",
    _W,
    "Caption files without an image.",
    "Was the image renamed, moved or deleted? If so, rename or delete the caption, too.",
)

TRIGGER_MISSING = _kind(
    "trigger.missing",
    _W,
    "Training captions without the trigger word.",
    "What these images show is learned without it. Add the word, or name another with --trigger.",
)
TRIGGER_IN_REGULARISATION = _kind(
    "trigger.in_regularisation",
    _W,
    "Regularisation captions with the trigger word.",
    "They teach that the word means something ordinary. Take it out.",
)
TAG_SIMILAR = _kind(
    "tag.similar",
    _W,
    "Tags that probably mean the same, but are different words for the model.",
    "Choose one spelling for all captions.",
)
TAG_REPEATED = _kind(
    "tag.repeated", _W, "The same tag several times in a caption.", "In caption files, --fix keeps the first of them."
)
TAG_STRAY = _kind(
    "tag.stray_separator",
    _W,
    "Separators with nothing between them.",
    "They take tokens and mean nothing; in caption files, --fix removes them.",
)
TAG_BRACKETS = _kind(
    "tag.brackets",
    _W,
    "Brackets that are opened and not closed, or the other way round.",
    "Probably a tag was torn apart.",
)

MASK_MISSING = _kind(
    "mask.missing",
    _E,
    "Images without a mask, in a folder whose images have masks.",
    "Training does not start, or uses all of the picture. Draw one, of the same name as the image.",
)
MASK_UNREADABLE = _kind("mask.unreadable", _E, "Masks that cannot be read.", "Replace them.")
MASK_EXTRA = _kind(
    "mask.extra", _W, "Masks without an image.", "Was the image renamed or deleted? If so, do the same to the mask."
)
MASK_SIZE = _kind(
    "mask.size",
    _E,
    "Masks of another size than their image.",
    "They may be shifted against it. Save them in the image's size.",
)
MASK_BLACK = _kind(
    "mask.black",
    _W,
    "Masks that are black all over: nothing of the image is learned.",
    "White is what counts. Delete the image, or draw the mask again.",
)
MASK_WHITE = _kind(
    "mask.white", _I, "Masks that are white all over: they change nothing.", "Fine if that is what you want."
)
