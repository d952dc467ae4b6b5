"""Settings of the sources: what is read, and how politely."""

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from configs.section import Positive, Section


class SourceSettings(Section):
    """Where the documents come from, and how politely they are fetched."""

    site: str | None = None
    """Start URL of a website; pages on the same host, below any depth limit, are read."""
    folder: Path | None = None
    """A local folder of HTML, Markdown, reStructuredText, plain text or PDF files, read instead of a site."""
    max_pages: Positive = 5000
    """Stop after this many pages or files."""
    max_depth: Annotated[int, Field(ge=0)] = 20
    """Links followed from the start page."""
    max_page_mb: Annotated[float, Field(gt=0)] = 10.0
    """Pages or files that are larger once decoded (in MB) are rejected unread."""
    delay_s: Annotated[float, Field(ge=0)] = 0.1
    """Politeness: seconds between the starts of two requests; a longer Crawl-delay in robots.txt wins."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    """Requests under way at once."""
    timeout_s: Annotated[float, Field(gt=0)] = 20.0
    """Seconds without progress after which a request is given up."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """Further tries after a network error, 408, 425, 429, 500 or 502 to 504, with exponential back-off."""
    robots: bool = True
    """Obey robots.txt (RFC 9309)."""
    user_agent: str = "wellread/0.1 (documentation reader; obeys robots.txt)"
    """Sent with every request, and matched against robots.txt."""
    allow_private: bool = False
    """Permit loopback, private and link-local addresses, which are refused otherwise, on redirects too."""

    @field_validator("site")
    @classmethod
    def _is_http_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("give a full address such as https://example.org/docs/")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.site and self.folder:
            raise ValueError("set either source.site or source.folder, not both")
        return self
