"""The option groups, one file for each topic."""

from library.options.groups.averaging import AveragingOptions
from library.options.groups.captions import CaptionOptions, TextOptions
from library.options.groups.dataset import (
    AugmentationOptions,
    BucketOptions,
    CacheOptions,
    DataSourceOptions,
    LoaderOptions,
)
from library.options.groups.model import ModelOptions
from library.options.groups.monitoring import (
    ConfigOptions,
    ConsoleOptions,
    LoggingOptions,
    SamplingOptions,
    ValidationOptions,
)
from library.options.groups.network import NetworkOptions
from library.options.groups.objective import LossOptions, NoiseOptions, TimestepOptions
from library.options.groups.optimizer import OptimizerOptions, ScheduleOptions
from library.options.groups.output import HubOptions, MetadataOptions, ResumeOptions, SavingOptions
from library.options.groups.training import (
    AttentionOptions,
    DeepSpeedOptions,
    DistributedOptions,
    MemoryOptions,
    PrecisionOptions,
    TrainingOptions,
)

__all__ = [
    "AttentionOptions",
    "AugmentationOptions",
    "AveragingOptions",
    "BucketOptions",
    "CacheOptions",
    "CaptionOptions",
    "ConfigOptions",
    "ConsoleOptions",
    "DataSourceOptions",
    "DeepSpeedOptions",
    "DistributedOptions",
    "HubOptions",
    "LoaderOptions",
    "LoggingOptions",
    "LossOptions",
    "MemoryOptions",
    "MetadataOptions",
    "ModelOptions",
    "NetworkOptions",
    "NoiseOptions",
    "OptimizerOptions",
    "PrecisionOptions",
    "ResumeOptions",
    "SamplingOptions",
    "SavingOptions",
    "ScheduleOptions",
    "TextOptions",
    "TimestepOptions",
    "TrainingOptions",
    "ValidationOptions",
]
