"""How much memory training takes on a device: an estimate from the model's shape and the settings.

In: a `Shape` and a `Setup`. Out: `Memory`, bytes by part. P is the number of parameters, T of those that are trained, N
of processes.

Weights, gradients, optimizer (ZeRO: Rajbhandari et al. 2020, section 3.1). Autocast keeps 4 bytes of each trained
weight, of its gradient and of both moments of AdamW, 4T + 4T + 8T, and a half copy of the weights that it casts.
DeepSpeed in half precision keeps 2T of weights, 2T of gradients and 12T in the optimizer (K = 12). ZeRO divides the
optimizer (stage 1), gradients (2) and weights (3) by N.

Activations (after Korthikanti et al. 2022, section 4.1, counted anew for gated layers with RMSNorm, as Llama's). For
each token a layer keeps, in elements of the precision computed in: its two normalised inputs and two residuals (4h),
queries, keys, values and the attention's output, the four tensors of the gated feed-forward layer (4f), and r for each
adapter; in full training the two inputs of the norms' gains. Under autocast the residuals are float32, and each layer
that is trained keeps a half copy of its input. Eager attention also keeps s scores for each head. With checkpointing
(Chen et al. 2016) h for each layer and one whole layer.

Loss: TRL projects onto the vocabulary in tiles (`trl/kernels/chunked_logprob.py`), so that logits are never there as a
whole; on a CPU eight tensors of a tile's size are.

Known limits: dense decoders; experts, state space models and tensor parallelism are not modelled. On a CPU the figure
is the resident set of a process, of which the part `allocator` was fitted to measurements (docs/training-check.md). The
figures for GPUs follow from the papers and are not measured.
"""

from dataclasses import dataclass, fields

# Tiles of the loss in TRL: tokens x vocabulary.
TILE_TOKENS, TILE_VOCABULARY = 4096, 32768
TILES_CPU, TILES_GPU = 8, 1
# Resident set of a CPU process before the weights, measured; a CUDA context with its libraries, assumed.
PROCESS_CPU, CONTEXT_GPU = 620_000_000, 600_000_000
# Freed tensors that glibc's malloc holds on to, as a share of all activations, checkpointed or not. Measured.
MALLOC_KEEPS = 0.7
# Blocks of CUDA's caching allocator that are cut and not full; assumed.
CUDA_KEEPS = 0.1
# NF4 with double quantisation: 4 bits and 0.127 (Dettmers et al. 2023, section 3).
NF4 = 4.127 / 8


@dataclass(frozen=True)
class Shape:
    """The model's shape.

    Attributes:
        parameters: P, tied ones counted once.
        linear: parameters of the linear layers without the output head, which is what 4-bit loading quantises.
        adapter: parameters of the adapter that the settings ask for.
        adapted: linear layers that get one.
        rank: of the adapter.
        gated: the feed-forward layer has a gate.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    vocabulary: int
    parameters: int
    linear: int
    adapter: int
    adapted: int
    rank: int
    gated: bool = True


@dataclass(frozen=True)
class Setup:
    """What decides the memory besides the shape.

    Attributes:
        method: `lora`, `qlora` or `full`.
        rows: of a forward pass in a process.
        answers: rows for each one of the batch, 2 where pairs are compared.
        tokens: of the longest row.
        frozen_bytes: of a weight that is not trained, 2 or 4.
        half: computed in 2 bytes, under autocast or DeepSpeed.
        zero: DeepSpeed's stage; 0 without DeepSpeed.
        offload: where DeepSpeed puts optimizer states, and with stage 3 weights: `off`, `cpu` or `nvme`.
        reference: a second copy of the weights is held to compare with.
    """

    method: str
    rows: int
    tokens: int
    answers: int = 1
    accumulate: int = 1
    frozen_bytes: int = 4
    half: bool = False
    checkpointing: bool = False
    attention: str = "sdpa"
    processes: int = 1
    zero: int = 0
    offload: str = "off"
    on_gpu: bool = False
    reference: bool = False


@dataclass(frozen=True)
class Memory:
    """Bytes on one device, by part; `host` is in the machine's memory besides, for one process."""

    process: int
    weights: int
    optimizer: int
    gradients: int
    activations: int
    loss: int
    allocator: int
    host: int = 0
    gradients_follow: bool = False

    @property
    def total(self) -> int:
        """The peak. Without accumulation gradients take the place of activations as the backward pass frees them."""
        passing = self.activations + self.loss
        passing = max(passing, self.gradients) if self.gradients_follow else passing + self.gradients
        return self.process + self.weights + self.optimizer + passing + self.allocator

    def parts(self) -> dict[str, int]:
        """Name -> bytes, without `host` where nothing is there."""
        parts = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "gradients_follow"}
        return {name: size for name, size in parts.items() if name != "host" or size}


def estimate(shape: Shape, setup: Setup) -> Memory:
    """The memory of one process (on a CPU) or one GPU."""
    trained = shape.parameters if setup.method == "full" else shape.adapter
    weights, gradients, optimizer = _states(shape, setup, trained)
    host = 0
    if setup.offload != "off" and setup.on_gpu:
        moved = optimizer if setup.offload == "cpu" else 0
        host, optimizer = moved, 0
        if setup.zero == 3:
            host, weights = host + weights, 2 * _largest_layer(shape)
    full = activations(shape, setup)
    kept = _checkpointed(shape, setup) if setup.checkpointing else full
    return Memory(
        process=CONTEXT_GPU if setup.on_gpu else PROCESS_CPU,
        weights=weights,
        optimizer=optimizer,
        gradients=gradients,
        activations=kept,
        loss=_loss(shape, setup),
        allocator=int(CUDA_KEEPS * kept if setup.on_gpu else MALLOC_KEEPS * full),
        host=host,
        gradients_follow=setup.accumulate == 1 and setup.processes == 1 and not setup.zero,
    )


def activations(shape: Shape, setup: Setup) -> int:
    """Bytes that autograd keeps for the backward pass, without checkpointing and without the loss."""
    return setup.rows * setup.tokens * shape.layers * _layer(shape, setup)


def _layer(shape: Shape, setup: Setup) -> int:
    """Bytes that one layer keeps for a token."""
    size = 2 if setup.half else 4
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    attention = 2 * queries + 2 * (keys if setup.attention != "eager" else queries)
    kept = (4 * shape.hidden + attention + (4 if shape.gated else 2) * shape.feed_forward) * size
    if setup.method == "full":
        # The gain of a norm is learnt from the normalised input.
        kept += 2 * shape.hidden * 4
    else:
        kept += shape.adapted // max(shape.layers, 1) * shape.rank * size
    if setup.half:
        # A norm is taken in float32; autocast makes every layer that is trained a half copy of its input.
        kept += 2 * shape.hidden * (4 - size)
        kept += (3 * shape.hidden + (queries if setup.method != "full" else 0)) * size
    if setup.attention == "eager":
        # The softmax is taken in float32.
        kept += shape.heads * setup.tokens * (6 if setup.half else 4)
    return kept


def _checkpointed(shape: Shape, setup: Setup) -> int:
    tokens = setup.rows * setup.tokens
    return tokens * (shape.layers * shape.hidden * (2 if setup.half else 4) + _layer(shape, setup))


def _loss(shape: Shape, setup: Setup) -> int:
    size, tokens = (2 if setup.half else 4), setup.rows * setup.tokens
    tile = min(tokens, TILE_TOKENS) * min(shape.vocabulary, TILE_VOCABULARY)
    return tile * size * TILES_GPU if setup.on_gpu else tile * 4 * TILES_CPU


def _states(shape: Shape, setup: Setup, trained: int) -> tuple[int, int, int]:
    """Weights, gradients and optimizer states of a device, before anything is offloaded."""
    frozen = shape.parameters - trained if setup.method == "full" else shape.parameters
    weights = frozen * setup.frozen_bytes
    if setup.method == "qlora":
        weights = int(shape.linear * NF4) + (shape.parameters - shape.linear) * 2
    if setup.reference and setup.method == "full":
        weights += shape.parameters * 4
    if setup.zero and setup.half:
        weights, gradients, optimizer = weights + 2 * trained, 2 * trained, 12 * trained
    else:
        # Autocast keeps half copies of float32 weights, frozen or not, from the forward to the backward pass.
        cast = 2 * shape.linear if setup.half and (setup.method == "full" or setup.frozen_bytes == 4) else 0
        weights, gradients, optimizer = weights + 4 * trained + cast, 4 * trained, 8 * trained
        if setup.processes > 1 and not setup.zero:
            # DistributedDataParallel gathers gradients in buckets of its own.
            gradients *= 2
    share = max(1, setup.processes)
    if setup.zero >= 1:
        optimizer //= share
    if setup.zero >= 2:
        gradients //= share
    if setup.zero == 3:
        weights = weights // share + 2 * _largest_layer(shape)
    return weights, gradients, optimizer


def _largest_layer(shape: Shape) -> int:
    """Bytes of the largest block that ZeRO-3 gathers: a layer, or the embedding."""
    return 2 * max(shape.linear // max(shape.layers, 1), shape.vocabulary * shape.hidden)
