"""Vector indexes behind one contract (`base.py`): FAISS in files, PostgreSQL with pgvector, a Qdrant server."""
