"""A GGUF file in llama.cpp, asked as every export is asked.

In: a `.gguf` file. Out: an `Engine`. llama.cpp runs in this process, as a server on a free port of the loopback
interface (package xllamacpp); it is not told where it could send anything.

llama.cpp gives no log-probabilities of a prompt. An answer is therefore forced: each of its tokens is made certain by a
bias, and the server, asked for the probability before biases, tells how likely it would have been (llama.cpp's
`post_sampling_probs: false`). Tokens before it are in the cache, so each costs one step.

Known limit: a forced token costs a request, some 30 ms with 135M parameters.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import xllamacpp

from configs.errors import ModelError
from train.chat import Turn

SURE = 1e9  # added to a logit, it outweighs all others
QUIET = -1


class LlamaCpp:
    """llama.cpp in this process.

    Args:
        file: the GGUF file.
        context: tokens of prompt and answer together.
        vocabulary: tokens that there are.
        stop: one at which generation stops.

    Raises:
        ModelError: llama.cpp cannot load the file.
    """

    def __init__(self, file: Path, context: int, vocabulary: int, stop: int) -> None:
        self._vocabulary, self._stop = vocabulary, stop
        settings = xllamacpp.CommonParams()
        settings.model.path = str(file)
        settings.n_ctx = context
        settings.n_parallel = 1
        settings.verbosity = QUIET
        settings.warmup = False
        threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
        # By default the cache of keys and values is rounded to half precision.
        settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        try:
            self._server: Any = xllamacpp.Server(settings)
        except RuntimeError as error:
            raise ModelError(f"llama.cpp cannot load {file}: {error}", "Export the model as merged") from None

    def tokens(self, text: str) -> list[int]:
        return list(self._post("/tokenize", {"content": text, "add_special": False, "parse_special": True})["tokens"])

    def prompt(self, messages: Sequence[Turn]) -> str:
        return str(self._post("/apply-template", {"messages": list(messages)})["prompt"])

    def greedy(self, prompt: Sequence[int], most: int) -> list[int]:
        return [int(token) for token in self._complete(prompt, n_predict=most)["tokens"]]

    def logprobs(self, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
        return [self._logprob([*prompt, *answer[:place]], token) for place, token in enumerate(answer)]

    def _logprob(self, before: Sequence[int], token: int) -> float:
        said = self._complete(before, n_predict=1, n_probs=1, logit_bias=[[token, SURE]])
        # Of a token that is a part of a character, llama.cpp says nothing before the rest has come.
        if said.get("completion_probabilities"):
            return float(said["completion_probabilities"][0]["logprob"])
        said = self._complete(before, n_predict=1, n_probs=self._vocabulary, logit_bias=[[self._stop, SURE]])
        (found,) = said["completion_probabilities"]
        return next(float(one["logprob"]) for one in found["top_logprobs"] if one["id"] == token)

    def _complete(self, prompt: Sequence[int], **settings: Any) -> dict[str, Any]:
        fixed = {"temperature": 0, "return_tokens": True, "cache_prompt": True}
        return self._post("/completion", {"prompt": list(prompt), **fixed, **settings})

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        address = self._server.listening_address + path
        request = Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310  # our own server
        try:
            with urlopen(request) as answer:  # noqa: S310
                return dict(json.load(answer))
        except HTTPError as error:
            said = json.load(error)["error"]["message"]
            raise ModelError(f"llama.cpp refuses a request: {said}", "Lower model.max_context") from None
