"""Fine-tuning the embedder on questions and the passages that answer them."""
