"""How a language model is measured, and whether it may be served."""
