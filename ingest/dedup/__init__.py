"""Which documents, and which paragraphs, repeat others; `ingest.dedup.find` is where to begin."""
