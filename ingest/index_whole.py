"""Sees to it that an index version that was made before still opens, and makes it again where it does not.

A version is named by what it is made from, so that making it again would find it there and do nothing. Files may have
been damaged since, written by an older version of this program, or a server may have lost the vectors.
"""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from configs.artifacts import Version
from configs.errors import ArtifactError
from ingest.index import LEXICAL, VECTORS, IndexManifest
from ingest.passages import Passages
from ingest.search.answerable import Answerability
from ingest.search.lexical import Lexical
from ingest.vectors.base import VectorsLost
from ingest.vectors.store import Store

log = logging.getLogger(__name__)


def made_whole(build: Callable[[Path | None], Version], store: Store) -> Version:
    """A version that can be opened.

    Args:
        build: returns the version, which may have been made before; given a folder, takes over from what is in it.

    Raises:
        ArtifactError: it cannot be made, or the server that keeps its vectors cannot be asked.
    """
    made = build(None)
    if not made.reused or not (lost := _lost(made.path, store)):
        return made
    log.warning("index %s is made again: %s", made.id, lost)
    aside = made.path.with_name(f".aside-{made.id}")
    shutil.rmtree(aside, ignore_errors=True)
    os.replace(made.path, aside)
    again = build(aside)
    shutil.rmtree(aside, ignore_errors=True)
    return again


def _lost(folder: Path, store: Store) -> str:
    """What a finished version has lost since; empty where it is whole."""
    try:
        IndexManifest.read(folder)
        Passages.load(folder)
        Lexical.load(folder / LEXICAL)
        Answerability.load(folder)
    except ArtifactError as error:
        return error.problem
    try:
        store.load(folder / VECTORS)
    except ArtifactError as error:
        # A server that does not answer has lost nothing.
        if store.name == "faiss" or isinstance(error, VectorsLost):
            return error.problem
        raise
    return ""
