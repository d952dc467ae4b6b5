"""The model that `mlflow models serve` runs: conversations in, answers out.

MLflow copies this file into the export and runs it there, so it imports nothing of wellread. Answers are greedy, with
the model's own chat template; what stops them is what the model's generation settings say.

Known limit: one conversation at a time.
"""

from typing import Any

import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from pydantic import BaseModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig


class Message(BaseModel):
    """One turn."""

    role: str
    content: str


class Conversation(BaseModel):
    """What is asked."""

    messages: list[Message]
    max_tokens: int = 128


class Served(PythonModel):
    """Loads the merged model that lies beside it."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load weights and tokenizer from the export itself; the network is not used."""
        folder = context.artifacts["model"]
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
        self.model = model.eval()

    def predict(self, model_input: list[Conversation]) -> list[str]:  # type: ignore[override]  # MLflow reads the types
        """The answer to each conversation."""
        return [self._answer(conversation) for conversation in model_input]

    def prompt(self, turns: list[dict[str, str]]) -> str:
        """The text that the model continues, of turns with `role` and `content`."""
        return str(
            self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, enable_thinking=False)
        )

    def _answer(self, conversation: Conversation) -> str:
        text = self.prompt([message.model_dump() for message in conversation.messages])
        prompt = self.tokenizer(text, add_special_tokens=False, return_tensors="pt")
        settings = GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=False,
            max_new_tokens=conversation.max_tokens,
            eos_token_id=self.model.generation_config.eos_token_id,
            pad_token_id=self.tokenizer.pad_token_id or self.tokenizer.eos_token_id,
        )
        with torch.inference_mode():
            grown = self.model.generate(**prompt, generation_config=settings)
        answer = grown[0, prompt["input_ids"].shape[1] :]
        return str(self.tokenizer.decode(answer, skip_special_tokens=True)).strip()


set_model(Served())
