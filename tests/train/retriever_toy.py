"""A toy language in which questions and passages never share a word: what a search by words cannot find, and what an
embedder that has not been trained does not know; and a tiny random embedder for it."""

from itertools import combinations
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from configs.artifacts import Made, Version, Workspace
from ingest.embed import load_embedder
from ingest.passages import write_passages
from ingest.records import Chunk, Example, stable_id, write_table
from train.retriever.learn import Base

# What a question calls it, what a passage calls it.
WORDS = dict(
    pair.split("=")
    for pair in "feline=cat canine=dog bovine=cow equine=horse beverage=tea cereal=oats footwear=boots garment=coat "
    "vessel=ship dwelling=hut".split()
)
COMBINATIONS = list(combinations(WORDS, 2))
PAD, UNKNOWN, START, END = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def question_of(one: str, other: str) -> str:
    return f"which {one} with {other}"


def passage_of(one: str, other: str) -> str:
    return f"the {WORDS[one]} and the {WORDS[other]}"


def save_embedder(folder: Path) -> Path:
    """Two layers of 32 dimensions, random, whole words as tokens."""
    torch.manual_seed(0)
    known = ["which", "with", "the", "and", ">", *WORDS, *WORDS.values()]
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *known])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, unk_token=UNKNOWN, cls_token=START, sep_token=END
    )
    plain = folder.with_name(f"{folder.name}-bert")
    fast.save_pretrained(plain)
    size = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    BertModel(size).save_pretrained(plain)
    words = Transformer(str(plain), max_seq_length=32)
    SentenceTransformer(modules=[words, Pooling(32), Normalize()], device="cpu").save_pretrained(
        str(folder), create_model_card=False
    )
    return folder


def base_of(embedder: Path) -> Base:
    return Base(str(embedder), lambda source: load_embedder(source, "cpu"), "cpu")


def make_chunk(number: int) -> Chunk:
    """A document of one passage."""
    text = passage_of(*COMBINATIONS[number])
    return Chunk(
        stable_id("chunk", text), stable_id("doc", text), f"https://x.test/{number}", "", (), text, 0, len(text)
    )


CHUNKS = [make_chunk(number) for number in range(len(COMBINATIONS))]


def fill_workspace(root: Path, half_of, *, swapped: bool = False) -> tuple[Version, Version]:
    """An index and examples of the toy language.

    Args:
        half_of: the half of each passage.
        swapped: the examples ask for other passages than those that answer.
    """
    workspace = Workspace(root)
    index = workspace.build("index", lambda folder: Made({"n": write_passages(folder, CHUNKS)}), inputs={}, settings={})
    asked = CHUNKS[1:] + CHUNKS[:1] if swapped else CHUNKS
    rows = [
        Example(
            stable_id("example", chunk.id),
            chunk.doc_id,
            question_of(*names),
            (chunk,),
            "It says so. [1]",
            answerable=True,
            split=half_of(chunk),
            section=chunk.id,
        )
        for names, chunk in zip(COMBINATIONS, asked, strict=True)
    ]
    examples = workspace.build(
        "examples",
        lambda folder: Made({"n": write_table(folder / "examples.parquet", rows, Example)}),
        inputs={"index": index.id},
        settings={"holdout_share": 0.3, "seed": 0},
    )
    return index, examples
