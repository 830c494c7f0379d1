"""How long to train, in which precision, with which kernels and how much memory."""

from typing import ClassVar, Literal

from library.options.declaration import OptionGroup, option

DynamoBackend = Literal[
    "eager", "aot_eager", "inductor", "aot_ts_nvfuser", "nvprims_nvfuser", "cudagraphs",
    "ofi", "fx2trt", "onnxrt", "tensort", "ipex", "tvm",
]  # fmt: skip


class TrainingOptions(OptionGroup):
    title: ClassVar[str] = "Training"

    max_train_steps: int = option(1600, ge=1, unit="steps", help="Length of the run in optimizer steps.")
    max_train_epochs: int | None = option(
        ge=1, unit="epochs", help="Length of the run in epochs; beats --max_train_steps."
    )
    seed: int | None = option(ge=0, help="Seed of everything random; drawn and recorded when not given.")
    gradient_accumulation_steps: int = option(
        1, ge=1, unit="batches", help="Batches whose gradients are averaged for one optimizer step."
    )
    gradient_checkpointing: bool = option(
        False, help="Compute activations a second time instead of keeping them: slower, much less memory."
    )


class PrecisionOptions(OptionGroup):
    title: ClassVar[str] = "Precision"

    mixed_precision: Literal["no", "fp16", "bf16"] = option(
        "no", help="Precision of the frozen model and of the computation; the network itself stays in float32."
    )
    full_fp16: bool = option(
        False, help="The network's weights and gradients in float16, too; needs --mixed_precision fp16."
    )
    full_bf16: bool = option(
        False, help="The network's weights and gradients in bfloat16, too; needs --mixed_precision bf16."
    )
    fp8_base: bool = option(
        False, help="Keep the weights of frozen U-Net and text encoders in 8 bits, with a scale per output channel."
    )
    fp8_base_unet: bool = option(False, help="Keep the weights of the frozen U-Net in 8 bits.")


class AttentionOptions(OptionGroup):
    title: ClassVar[str] = "Attention and compilation"

    sdpa: bool = option(False, help="PyTorch's fused attention. It is the default, with or without this option.")
    xformers: bool = option(False, help="The attention of the package xformers; needs that package and a GPU.")
    mem_eff_attn: bool = option(False, help="Only the memory-efficient kernel of PyTorch's fused attention.")
    torch_compile: bool = option(
        False, help="Compile the U-Net's repeated blocks; once for each size of picture, at its first use."
    )
    dynamo_backend: DynamoBackend = option("inductor", help="Compiler of --torch_compile.")


class MemoryOptions(OptionGroup):
    title: ClassVar[str] = "Memory"

    lowram: bool = option(False, help="Load the model straight to the GPU, to spare main memory.")
    highvram: bool = option(
        False, help="Leave VAE and text encoders on the GPU when they are not needed, instead of freeing its memory."
    )
    cpu_offload_checkpointing: bool = option(
        False, help="Keep what --gradient_checkpointing recomputes from in main memory: slower, less GPU memory."
    )


class DistributedOptions(OptionGroup):
    title: ClassVar[str] = "Several processes"

    ddp_timeout: int | None = option(
        ge=1, unit="minutes", help="How long processes wait for each other.", pending="tuning of several processes"
    )
    ddp_gradient_as_bucket_view: bool = option(
        False, help="DDP's gradient_as_bucket_view.", pending="tuning of several processes"
    )
    ddp_static_graph: bool = option(False, help="DDP's static_graph.", pending="tuning of several processes")


class DeepSpeedOptions(OptionGroup):
    title: ClassVar[str] = "DeepSpeed"

    deepspeed: bool = option(False, help="Train with DeepSpeed.", pending="DeepSpeed")
    zero_stage: Literal[0, 1, 2, 3] = option(2, help="ZeRO stage.", pending="DeepSpeed")
    offload_optimizer_device: Literal["cpu", "nvme"] | None = option(
        help="Where optimizer states go.", pending="DeepSpeed"
    )
    offload_optimizer_nvme_path: str | None = option(help="Folder for them on an NVMe disk.", pending="DeepSpeed")
    offload_param_device: Literal["cpu", "nvme"] | None = option(help="Where parameters go.", pending="DeepSpeed")
    offload_param_nvme_path: str | None = option(help="Folder for them on an NVMe disk.", pending="DeepSpeed")
    zero3_init_flag: bool = option(False, help="Use deepspeed.zero.Init.", pending="DeepSpeed")
    zero3_save_16bit_model: bool = option(False, help="Save 16-bit weights under ZeRO 3.", pending="DeepSpeed")
    fp16_master_weights_and_gradients: bool = option(
        False, help="Master weights and gradients in float16.", pending="DeepSpeed"
    )
