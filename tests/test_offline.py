"""The embedded models load and work although every connection beyond loopback is refused, and none is even tried."""

import os
import subprocess
import sys

OFFLINE = """
import sys

tried = []

def refuse(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect"):
        tried.append((event, arguments))
        raise OSError("there is no network")

sys.addaudithook(refuse)

from ingest.embed import load_embedder
from train.model import load_model

embedder = load_embedder("embedded:all-MiniLM-L6-v2", "cpu")
assert embedder.encode(["a text"]).shape == (1, 384)
loaded = load_model("embedded:SmolLM2-135M-Instruct", "cpu")
assert loaded.tokenizer("a text").input_ids
print(tried)
"""


def test_the_embedded_models_never_need_the_network():
    # The variable that would keep the hub's client from trying is taken away on purpose.
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    done = subprocess.run([sys.executable, "-c", OFFLINE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
