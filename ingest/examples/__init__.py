"""Examples for training and evaluation: their names for the other rooms.

`make_examples` puts the parts of this folder together, `stage.fill_examples` writes all tables of a version.
"""

from ingest.examples.answers import ABSTENTION, numbered, opening_sentences, sentences
from ingest.examples.make import make_examples

__all__ = ["ABSTENTION", "make_examples", "numbered", "opening_sentences", "sentences"]
