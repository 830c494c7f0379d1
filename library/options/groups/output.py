"""What a run writes: network files, metadata, states, uploads."""

from pathlib import Path
from typing import ClassVar, Literal

from library.options.declaration import OptionGroup, option

STATES = "saving and resuming the training state"
HUB = "uploading to a model hub"


class SavingOptions(OptionGroup):
    title: ClassVar[str] = "Saving"

    output_dir: Path | None = option(help="Folder for network files and previews. Required.")
    output_name: str | None = option(help="Name of the files, without extension; default 'last', 'epoch' and 'at'.")
    save_model_as: Literal["safetensors", "ckpt", "pt"] = option(
        "safetensors", help="File format; ckpt and pt files hold no metadata."
    )
    save_precision: Literal["float", "fp16", "bf16"] | None = option(
        help="Precision of the saved weights; default: as they are trained."
    )
    save_every_n_epochs: int | None = option(ge=1, unit="epochs", help="Also save at the end of every n-th epoch.")
    save_every_n_steps: int | None = option(ge=1, unit="steps", help="Also save after every n-th step.")
    save_n_epoch_ratio: int | None = option(
        ge=1, help="Save about so many times during the run; beats --save_every_n_epochs."
    )
    save_last_n_epochs: int | None = option(ge=1, unit="epoch saves", help="Keep the last n epoch saves only.")
    save_last_n_steps: int | None = option(ge=1, unit="steps", help="Keep step saves of the last n steps only.")
    save_last_n_epochs_state: int | None = option(ge=1, unit="epoch saves", help="The same for states.", pending=STATES)
    save_last_n_steps_state: int | None = option(ge=1, unit="steps", help="The same for states.", pending=STATES)
    save_state: bool = option(False, help="Save the training state with every file.", pending=STATES)
    save_state_on_train_end: bool = option(False, help="Save the training state at the end.", pending=STATES)


class ResumeOptions(OptionGroup):
    title: ClassVar[str] = "Resuming"

    resume: str | None = option(help="Saved training state to go on from.", pending=STATES)
    skip_until_initial_step: bool = option(False, help="Skip the data of the steps before.", pending=STATES)
    initial_epoch: int | None = option(ge=1, help="Epoch to begin with.", pending=STATES)
    initial_step: int | None = option(ge=0, help="Step to begin with.", pending=STATES)


class MetadataOptions(OptionGroup):
    title: ClassVar[str] = "Metadata in the saved file"

    no_metadata: bool = option(False, help="Write the few fields that tools need and nothing about the training.")
    training_comment: str | None = option(help="Free text kept as ss_training_comment.")
    metadata_title: str | None = option(help="Title; default --output_name.")
    metadata_author: str | None = option(help="Author.")
    metadata_description: str | None = option(help="Description.")
    metadata_license: str | None = option(help="Licence.")
    metadata_tags: str | None = option(help="Tags, separated by commas.")
    metadata_usage_hint: str | None = option(help="Hint how to use it.")
    metadata_thumbnail: str | None = option(help="Image file or data URL shown for it.")
    metadata_merged_from: str | None = option(help="What it was merged from.")
    metadata_trigger_phrase: str | None = option(help="Words that call up what was trained.")
    metadata_preprocessor: str | None = option(help="Preprocessor it needs.")
    metadata_is_negative_embedding: str | None = option(help="Whether it is a negative embedding.")


class HubOptions(OptionGroup):
    title: ClassVar[str] = "Uploads"

    huggingface_repo_id: str | None = option(help="Hub repository that receives the files.", pending=HUB)
    huggingface_repo_type: str | None = option(help="Its type.", pending=HUB)
    huggingface_path_in_repo: str | None = option(help="Folder in it.", pending=HUB)
    huggingface_token: str | None = option(help="Access token.", secret=True, pending=HUB)
    huggingface_repo_visibility: str | None = option(help="'public', or private when anything else.", pending=HUB)
    save_state_to_huggingface: bool = option(False, help="Upload states, too.", pending=HUB)
    resume_from_huggingface: bool = option(False, help="--resume names a place on the hub.", pending=HUB)
    async_upload: bool = option(False, help="Upload while training goes on.", pending=HUB)
