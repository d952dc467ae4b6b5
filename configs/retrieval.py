"""Settings of the index, of search, and of the embedder's fine-tuning."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from configs.section import Fraction, Positive, Section


class EmbedSettings(Section):
    """The sentence embedder."""

    model: str = "embedded:all-MiniLM-L6-v2"
    """`embedded:all-MiniLM-L6-v2` (ships with the install), or any sentence-transformers hub id or local folder."""
    batch_size: Positive = 32
    """Texts embedded at once: of about 32 tokens each on a CPU, of the greatest length on a GPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU when there is one."""
    query_prefix: str | None = None
    """Put before each question, such as `"query: "` (in quotes, or YAML reads it as a key). Null takes what the model's
    own settings say (its prompt named `query`)."""
    passage_prefix: str | None = None
    """Put before each passage. Null takes what the model's own settings say (its prompt named `document` or
    `passage`)."""
    trained: Literal["auto", "off"] = "auto"
    """`auto`: an index is made with the version of `model` that `wellread train retriever` made last, if it found
    held-out questions' passages better than `model` does. `off`: with `model` as it is."""


class HnswSettings(Section):
    """Hierarchical navigable small worlds (Malkov and Yashunin 2016)."""

    m: Annotated[int, Field(ge=4, le=128)] = 32
    """Links per vector."""
    build: Annotated[int, Field(ge=8)] = 200
    """Candidates looked at for each vector while building (efConstruction)."""
    search: Annotated[int, Field(ge=8)] = 256
    """Candidates looked at while searching (efSearch)."""


class IvfpqSettings(Section):
    """Inverted lists over product-quantised vectors (Jegou et al. 2011)."""

    lists: Annotated[int, Field(ge=0)] = 0
    """Lists; 0 takes about four times the square root of the number of vectors."""
    code_bytes: Annotated[int, Field(ge=8)] = 96
    """Bytes that a vector is quantised to; must divide the dimensions."""
    probes: Positive = 128
    """Lists looked at in a search."""
    refine: Positive = 4
    """Candidates per result that are compared again with half-precision vectors; 1 compares none."""


class IndexSettings(Section):
    """Where vectors are kept, and how they are searched."""

    store: Literal["faiss", "pgvector", "qdrant"] = "faiss"
    """`faiss`: files on this machine. `pgvector`: PostgreSQL with that extension. `qdrant`: a Qdrant server."""
    url: str | None = None
    """Of the PostgreSQL or Qdrant server. Put one with a password into the environment: WELLREAD_INDEX__URL."""
    collection: str = "wellread"
    """Name on the server that all versions of this index have in common; workspaces may share it."""
    kind: Literal["auto", "exact", "hnsw", "ivfpq"] = "auto"
    """`auto`: exact below 50,000 passages, HNSW below 2 million, IVF-PQ beyond."""
    hnsw: HnswSettings = HnswSettings()
    """Where `kind` is `hnsw`."""
    ivfpq: IvfpqSettings = IvfpqSettings()
    """Where `kind` is `ivfpq`."""
    compact_at: Fraction = 0.2
    """An index whose changed and removed vectors are more than this share of it is built anew."""
    gate_questions: Annotated[int, Field(ge=0)] = 200
    """Questions whose passage is known that a new index is compared with the current one on; 0 compares nothing."""
    max_recall_drop: Fraction = 0.05
    """A new index that finds fewer of these by more than this share is refused; `wellread index --force` takes it."""

    @model_validator(mode="after")
    def _servers_have_urls(self) -> Self:
        if self.store != "faiss" and self.url is None:
            raise ValueError(f"index.store is {self.store}, which needs index.url")
        return self


class RetrieveSettings(Section):
    """Search at answering time."""

    passages: Annotated[int, Field(ge=1, le=20)] = 3
    """Passages put before the model."""
    mode: Literal["hybrid", "dense", "lexical"] = "hybrid"
    """`dense` searches by meaning, `lexical` by words (BM25), `hybrid` by both."""
    fusion: Literal["scores", "rrf"] = "scores"
    """How `hybrid` brings the two together: by their scores, with headings and feedback, or by reciprocal rank
    (Cormack et al. 2009)."""
    candidates: Annotated[int, Field(ge=10, le=1000)] = 100
    """Passages that each of the two searches brings to be fused."""
    reranker: str | None = None
    """A sentence-transformers cross-encoder, by hub id or local folder, that reads question and passage together."""
    rerank: Annotated[int, Field(ge=2, le=200)] = 20
    """Passages that the cross-encoder reads."""
    collapse: Fraction = 0.9
    """Of passages that share more than this of their words, in order, only the best is shown; 1 shows all."""
    context: Literal["passage", "section"] = "passage"
    """What the model reads for a passage that was found: the passage, or the whole section around it."""
    condense: Literal["off", "terms", "model"] = "terms"
    """How a question that leans on earlier turns becomes one that stands alone: `terms` adds what the conversation is
    about, `model` has the language model rewrite it."""
    min_answerable: Fraction | None = None
    """Below this probability that the documents hold the answer, the assistant says that they do not. Null takes the
    threshold fitted when the index was made; 0 always answers."""


class RetrieverSettings(Section):
    """Fine-tuning the embedder with `wellread train retriever`."""

    max_pairs: Positive = 4000
    """Most questions to learn from."""
    max_passages: Annotated[int, Field(ge=0)] = 5000
    """Passages, beside those that the questions ask for, among which negatives are looked for and both embedders
    search when they are compared. All of them are embedded twice."""
    votes: bool = True
    """Also learn from passages cited in answers that were voted up."""
    epochs: Annotated[float, Field(gt=0)] = 1.0
    """Passes over the pairs."""
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    """Peak learning rate of AdamW."""
    batch_size: Annotated[int, Field(ge=2)] = 32
    """Pairs per step; each one's passage is a negative for all the others."""
    max_tokens: Annotated[int, Field(ge=16)] = 96
    """Longest text while training, in the embedder's tokens; longer ones are cut there, and never when searched."""
    hard_negatives: Annotated[int, Field(ge=0, le=8)] = 1
    """Passages per question that BM25 finds and that do not answer it."""
    blend: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the trained weights in those that are used, the rest being the untrained ones; less keeps more of what
    the embedder knew before (Wortsman et al. 2022)."""
    min_gain: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """How much larger nDCG@10 on held-out questions must be for it to be used: of the fused ranking, or of the embedder
    alone where `retrieve.mode` is `dense`."""
