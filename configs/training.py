"""Settings of the language model and of its training: what is learnt, how, by how many processes, and how watched."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from configs.section import Fraction, Positive, Section

# What may start the training processes; each is a file in `train/launchers/`.
Launcher = Literal["local", "torchrun", "deepspeed", "horovod", "mpi", "ray", "slurm", "k8s"]


class ModelSettings(Section):
    """The language model."""

    name: str = "embedded:SmolLM2-135M-Instruct"
    """`embedded:SmolLM2-135M-Instruct` (ships with the install), or any hub id or folder of a causal LM with a chat
    template."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU when there is one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: float32 on a CPU; on a GPU bfloat16, or float16 where it has none."""
    max_context: Annotated[int, Field(ge=256)] = 2048
    """Tokens of prompt and answer together; the model's own limit caps it."""
    spotlight: Literal["off", "delimit", "datamark"] = "off"
    """How the prompt marks passages as quotations, so that the model obeys them less (Hines et al. 2024): a border with
    a secret, or a sign between all words. Train again after a change: the model is taught the same prompt."""
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    """Kernel of the attention in training; `auto` takes FlashAttention 2 where its package and a GPU are there, else
    torch's own."""


class LoraSettings(Section):
    """Low-rank adaptation (Hu et al. 2021)."""

    rank: Annotated[int, Field(ge=1)] = 16
    """Rank r of the update matrices."""
    alpha: Annotated[float, Field(gt=0)] = 32.0
    """Scale of the update is alpha / rank; with `variant: rslora` alpha / sqrt(rank)."""
    dropout: Fraction = 0.0
    """Dropout on the adapter's input."""
    target: str | list[str] = "all-linear"
    """Module names that get an adapter; `all-linear` is every linear layer but the output head."""
    variant: Literal["plain", "rslora", "dora"] = "plain"
    """`rslora` scales by the root of the rank (Kalajdzievski 2023), `dora` learns magnitude and direction apart (Liu et
    al. 2024)."""


class DeepspeedSettings(Section):
    """DeepSpeed, with `launcher: deepspeed`, and in Slurm and Kubernetes jobs where anything here is set; its
    configuration is generated from these and the other settings."""

    on: bool = False
    """Uses it in a Slurm or Kubernetes job although nothing else here is set."""
    stage: Literal[1, 2, 3] = 2
    """What is divided among the processes (ZeRO, Rajbhandari et al. 2020): 1 optimizer states, 2 gradients too, 3 the
    weights as well."""
    offload: Literal["off", "cpu", "nvme"] = "off"
    """Where optimizer states, and with stage 3 the weights, wait while they are not needed: `off` on the device, `cpu`
    in the machine's memory, `nvme` the optimizer states on a fast disk and the weights in memory (stage 3 only)."""
    nvme: Path | None = None
    """Folder on that disk, on each machine; needed by `offload: nvme`."""
    extra: Path | None = None
    """A JSON file with DeepSpeed settings that are laid over the generated ones."""

    @model_validator(mode="after")
    def _disk_named(self) -> Self:
        if self.offload == "nvme" and (self.nvme is None or self.stage != 3):
            raise ValueError(f"offload: nvme needs stage: 3 (stage is {self.stage}) and nvme, a folder on the disk")
        return self


class PreferenceSettings(Section):
    """Learning from pairs of a better and a worse answer, with `objective: dpo` or `ipo`."""

    data: Path | None = None
    """JSONL file in TRL's preference format: `prompt`, `chosen` and `rejected`, as text or as lists of messages."""
    beta: Annotated[float, Field(gt=0)] = 0.1
    """How strongly the model is held to where it started: larger holds more (Rafailov et al. 2023; Azar et al.
    2023)."""


class ClusterSettings(Section):
    """Where training runs, past one machine."""

    nodes: Positive = 1
    """Machines; each starts `train.processes` processes. The run folder must be on storage that all of them see."""
    rendezvous: str = ""
    """`host:port` of the first machine, where the others meet it (torchrun, deepspeed, horovod, mpi); of Slurm's first
    machine only the port is read."""
    hostfile: Path | None = None
    """File that lists the machines, a line each: `name slots=4` (deepspeed, horovod, mpi)."""
    image: str = "wellread:train"
    """Container image of a Kubernetes job."""
    namespace: str = "default"
    """Namespace of a Kubernetes job."""
    claim: str = "wellread"
    """Persistent volume claim with the workspace, mounted at the workspace's own path in a Kubernetes job."""
    job: Literal["pytorchjob", "trainjob", "mpijob"] = "pytorchjob"
    """Kind of the Kubernetes job: Kubeflow's training operator 1, trainer 2, or its MPI operator."""
    partition: str = ""
    """Slurm's partition; empty takes the cluster's default."""
    time: str = "24:00:00"
    """Longest time that a Slurm job may take."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """GPUs that a Slurm or Kubernetes job asks for on each machine; 0 asks for none and trains on CPUs."""
    cpus: Annotated[int, Field(ge=0)] = 0
    """CPU cores that such a job asks for on each machine; 0 leaves it to the cluster."""
    memory: Annotated[str, Field(pattern=r"^(\d+[MGT])?$")] = ""
    """Memory that such a job asks for on each machine, such as `64G`; empty leaves it to the cluster."""


class WatchSettings(Section):
    """What is watched while training runs, and what happens then."""

    eval_steps: Annotated[int, Field(ge=0)] = 0
    """Optimizer steps between two measurements of the held-out loss; 0 measures at the end only. Where it is measured
    on the way, the best checkpoint is what is kept."""
    eval_examples: Positive = 8
    """Held-out examples that this loss is taken over."""
    sample_answers: Annotated[int, Field(ge=0)] = 2
    """Held-out questions answered at each measurement, for people to read."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Measurements without a better held-out loss after which training stops; 0 never stops early."""
    on_bad_step: Literal["skip", "rewind"] = "skip"
    """What a loss or gradient that is not a number, or a spike, leads to: the step is left out, or the run goes back to
    its last checkpoint and leaves those examples out."""
    max_bad_steps: Annotated[int, Field(ge=0)] = 3
    """Bad steps after which training stops with an error."""
    spike: Annotated[float, Field(ge=0)] = 0.0
    """A loss above this many times the median of the last 20 steps is a spike; 0 looks for none."""
    stall_s: Annotated[float, Field(ge=0)] = 900.0
    """Seconds in which no process gets any further, after which the job counts as stalled and is stopped; four times as
    long until the first step is done, since loading and compiling take their time. 0 waits for ever."""


class TrainSettings(Section):
    """Fine-tuning of the language model."""

    objective: Literal["sft", "pretrain", "dpo", "ipo"] = "sft"
    """What is learnt: answers (supervised fine-tuning), plain text of the documents (continued pretraining), or which
    of two answers is better (Rafailov et al. 2023, Azar et al. 2023)."""
    method: Literal["lora", "qlora", "full"] = "lora"
    """`lora` trains an adapter, `qlora` one on weights of 4 bits (Dettmers et al. 2023; needs a GPU and bitsandbytes),
    `full` trains every weight."""
    start: str = ""
    """A trained model (`latest`, `champion`, a version) whose weights are the start, instead of the base model's."""
    data: Path | None = None
    """JSONL file of your own conversations, learnt beside the examples with `objective: sft`: `messages` with `role`
    and `content`, or `prompt` and `completion`, and `weight` where a row counts more or less than others."""
    launcher: Launcher = "local"
    """What starts the training processes; `local` trains in one process."""
    processes: Positive = 1
    """Training processes on each machine."""
    cluster: ClusterSettings = ClusterSettings()
    """Past one machine."""
    deepspeed: DeepspeedSettings = DeepspeedSettings()
    """What DeepSpeed divides and moves away."""
    max_restarts: Annotated[int, Field(ge=0)] = 0
    """How often torchrun starts all processes again, from the last checkpoint, after one of them died."""
    max_steps: Annotated[int, Field(ge=-1)] = -1
    """Optimizer steps; -1 means as many as `epochs` gives."""
    epochs: Annotated[float, Field(gt=0)] = 1.0
    """Passes over the examples."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    """Peak learning rate of AdamW."""
    warmup_share: Fraction = 0.1
    """Share of the steps in which the learning rate rises linearly; it then falls as a cosine."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay of AdamW (Loshchilov and Hutter 2019)."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients of a larger norm are scaled down to it."""
    batch_size: Positive = 2
    """Rows per process and forward pass; with packing a row holds several examples."""
    accumulate: Positive = 1
    """Forward passes per optimizer step."""
    max_tokens: Annotated[int, Field(ge=64)] = 768
    """Longest example in tokens; longer ones are left out and counted, never cut."""
    max_left_out: Fraction = 0.2
    """Training is refused where a larger share of the examples than this would be left out as too long."""
    packing: bool = False
    """Fill each row with several examples that do not see each other, instead of padding; `objective: pretrain` always
    does."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """What is computed in; `auto` chooses by the hardware and says why."""
    neftune: Annotated[float, Field(ge=0)] = 0.0
    """Noise on the embeddings in training (NEFTune, Jain et al. 2023), 5 for example; 0 is off."""
    checkpointing: Literal["auto", "always", "never"] = "auto"
    """Whether activations are computed again in the backward pass, which costs time and saves memory; `auto` does so on
    a GPU."""
    liger: Literal["auto", "always", "never"] = "auto"
    """Fused kernels of the package liger-kernel; `auto` takes them on a GPU where the package is installed."""
    save_steps: Positive = 20
    """Steps between checkpoints; a killed run resumes from the last one."""
    lora: LoraSettings = LoraSettings()
    """Adapter settings, used by `method: lora` and `qlora`."""
    preference: PreferenceSettings = PreferenceSettings()
    """Used by `objective: dpo` and `ipo`."""
    watch: WatchSettings = WatchSettings()
    """Measurements on the way, bad steps, stalled processes."""

    @model_validator(mode="after")
    def _combinations(self) -> Self:
        several = self.processes * self.cluster.nodes
        if self.launcher == "local" and several > 1:
            raise ValueError(f"{several} processes need a launcher, torchrun for example (launcher is local)")
        if self.deepspeed != DeepspeedSettings() and self.launcher not in ("deepspeed", "slurm", "k8s"):
            raise ValueError(f"deepspeed needs launcher: deepspeed (launcher is {self.launcher})")
        if self.max_steps == 0:
            raise ValueError("max_steps: 0 would train nothing; use -1 for whole epochs, or a positive number")
        if self.objective in ("dpo", "ipo") and self.packing:
            raise ValueError(f"packing: true does not go with objective: {self.objective}, which compares whole rows")
        return self

    @model_validator(mode="after")
    def _files_are_read(self) -> Self:
        if self.data is not None and self.objective != "sft":
            raise ValueError(f"train.data is only read by objective: sft (objective is {self.objective})")
        if self.preference.data is not None and self.objective not in ("dpo", "ipo"):
            named = "train.preference.data is only read by objective: dpo or ipo"
            raise ValueError(f"{named} (objective is {self.objective})")
        return self
