"""Which documents are kept: one small file per rule, put together in `ingest.filters.base`."""
