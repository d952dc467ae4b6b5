"""One extractor per format: bytes in, an `Outline` (title and blocks in reading order) out."""
