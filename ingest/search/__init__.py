"""Search: words and meaning, fused; filters, near repeats, reranking, and whether the documents hold the answer."""
