"""A website in, a table of its pages out; `ingest.web.crawl` is where to begin."""
