"""Which settings decide what a stage of this room makes; they become part of its version's name."""

from typing import Any

from configs.schema import Config


def model_settings(config: Config) -> dict[str, Any]:
    return config.model.model_dump(mode="json", include={"dtype", "max_context", "spotlight"}) | {
        "model": config.model.name
    }


def evaluation_settings(config: Config) -> dict[str, Any]:
    """What decides the figures; the gate's own limit and the batch size do not."""
    return config.evaluate.model_dump(mode="json", include={"max_examples", "max_new_tokens"})
