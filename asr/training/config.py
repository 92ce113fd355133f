"""The configuration of a training, put together in one place."""

from typing import Literal

from pydantic import Field, model_validator

from asr.config import Config
from asr.data.loader import AugmentConfig, LoaderConfig
from asr.model import ModelConfig
from asr.text.normalize import NormalizerConfig

Schedule = Literal["constant", "linear", "cosine", "exponential"]
Precision = Literal["float32", "bf16", "fp16"]


class OptimizerConfig(Config):
    """AdamW (Loshchilov & Hutter 2019) with warm-up and a schedule over the whole training."""

    learning_rate: float = Field(2e-3, gt=0, le=1, description="peak learning rate")
    schedule: Schedule = Field("cosine", description="how the learning rate falls after the warm-up")
    warmup_steps: int = Field(200, ge=0, description="steps over which it rises from 0 to its peak")
    final_ratio: float = Field(0.02, ge=0, le=1, description="learning rate at the end, as a share of the peak")
    betas: tuple[float, float] = Field((0.9, 0.98), description="decay of the moment estimates")
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay of matrices")
    clip_norm: float = Field(5.0, ge=0, description="largest norm of the gradient; 0 = no clipping")


class TrainConfig(Config):
    """How long, on what, and what is kept."""

    epochs: int = Field(50, ge=1, description="passes over the training data")
    loader: LoaderConfig = Field(LoaderConfig(), description="batches")
    optimizer: OptimizerConfig = Field(OptimizerConfig(), description="optimiser and schedule")
    precision: Precision = Field("float32", description="float32, or bf16 / fp16 products with float32 weights")
    devices: int = Field(1, ge=1, description="processes (GPUs) on each node")
    num_nodes: int = Field(1, ge=1, description="machines")
    threads: int = Field(0, ge=0, description="CPU threads of a process; 0 = all cores shared among the processes")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="exponential moving average of the weights; 0 = off")
    consistency: float = Field(0.0, ge=0, description="weight of CR-CTC between two augmented views; 0 = one view")
    contexts_ms: tuple[tuple[float, float], ...] = Field(
        (),
        description="(chunk_ms, right_context_ms) of views, drawn in each step; chunk 0 = all; none: the encoder's",
    )
    forgetting_ms: tuple[float, float] | None = Field(
        None, description="soft forgetting: chunks of a length drawn between these, each by itself"
    )
    intermediate_weight: float = Field(0.3, ge=0, lt=1, description="share of the intermediate head's CTC loss")
    validate_every: int = Field(1, ge=1, description="epochs between validations")
    keep_best: int = Field(3, ge=0, description="checkpoints kept by the validation's word error rate")
    keep_last: int = Field(0, ge=0, description="checkpoints kept of the last validations, whatever their rate")
    checkpoint_steps: int = Field(500, ge=1, description="steps between saves of the training's state")
    patience: int = Field(0, ge=0, description="stop after so many validations without a better rate; 0 = never")
    tensorboard: bool = Field(False, description="TensorBoard events beside metrics.csv")
    max_infeasible: float = Field(0.01, ge=0, le=1, description="refuse data with a larger share that CTC cannot spell")


class ReplayConfig(Config):
    """What the model knew, trained on beside what is new, so that it is not forgotten."""

    manifest: str | None = Field(None, description="utterances of the old kind")
    ratio: float = Field(0.5, gt=0, lt=1, description="share of them in the audio of an epoch, drawn anew for each")


class FinetuneConfig(Config):
    """What makes a training from another model's weights gentle; only with `asr train --from`."""

    replay: ReplayConfig = Field(ReplayConfig(), description="old utterances among the new ones")
    guard: str | None = Field(None, description="manifest of held-out utterances of the old kind, validated too")
    guard_drop: float = Field(1.0, ge=0, description="warn when the guard's WER has risen by so many points")
    freeze: tuple[str, ...] = Field((), description="weights that stay as they are: names of the encoder with * and ?")
    unfreeze_epochs: int = Field(0, ge=0, description="let go of the last pattern of freeze after so many; 0 = never")
    depth_decay: float = Field(1.0, gt=0, le=1, description="learning rate of a layer, as a share of the next one's")
    adapter_rank: int = Field(0, ge=0, le=1024, description="train low-rank changes of matrices only; 0 = the matrices")
    pull: float = Field(0.0, ge=0, description="pull of the weights towards where they started, decoupled as decay is")
    new_script: bool = Field(False, description="allow an alphabet that shares nothing with the model's")

    @model_validator(mode="after")
    def _check(self) -> "FinetuneConfig":
        if self.unfreeze_epochs and not self.freeze:
            raise ValueError(f"unfreeze_epochs ({self.unfreeze_epochs}) needs patterns in freeze")
        if self.adapter_rank and (self.freeze or self.pull):
            raise ValueError("adapter_rank freezes all matrices already; leave out freeze and pull")
        return self


class ExperimentConfig(Config):
    """The root: what a conf/*.yaml holds."""

    text: NormalizerConfig = Field(NormalizerConfig(), description="how transcripts are normalised")
    model: ModelConfig = Field(ModelConfig(), description="features and encoder")
    augment: AugmentConfig = Field(AugmentConfig(), description="what training does to the data")
    train: TrainConfig = Field(TrainConfig(), description="optimiser, batches, length")
    finetune: FinetuneConfig = Field(FinetuneConfig(), description="for a training that starts from another model")

    @model_validator(mode="after")
    def _check(self) -> "ExperimentConfig":
        if self.train.loader.max_seconds > self.train.loader.batch_seconds:
            raise ValueError(
                f"train.loader.max_seconds ({self.train.loader.max_seconds:g}) must not exceed"
                f" train.loader.batch_seconds ({self.train.loader.batch_seconds:g})"
            )
        self._check_contexts()
        return self

    def _check_contexts(self) -> None:
        encoder, frame_ms = self.model.encoder, self.model.frame_ms
        for chunk, right in self.train.contexts_ms:
            if not encoder.chunk_ms:
                raise ValueError("train.contexts_ms is for encoders with chunk_ms; set model.encoder.chunk_ms, too")
            try:
                self.model.seeing(chunk, right)
            except ValueError as error:
                raise ValueError(f"train.contexts_ms: [{chunk:g}, {right:g}]: {error}") from None
        if self.train.forgetting_ms is not None:
            first, last = self.train.forgetting_ms
            if not encoder.bidirectional or encoder.chunk_ms:
                raise ValueError("train.forgetting_ms is for offline models: bidirectional, with chunk_ms 0")
            if not frame_ms <= first <= last:
                raise ValueError(
                    f"train.forgetting_ms must rise from at least an encoder frame of {frame_ms:g} ms,"
                    f" got [{first:g}, {last:g}]"
                )
