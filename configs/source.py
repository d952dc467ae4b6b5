"""Settings of the sources: what is read, and how politely."""

import re
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from configs.section import Positive, Section


class SourceSettings(Section):
    """Where the documents come from, and how politely they are fetched."""

    site: str | None = None
    """Start URL of a website; pages on the same host are read, as far as links, sitemaps and the limits lead."""
    sitemap: str | None = None
    """URL of a sitemap, read instead of a site: the pages that it lists, and no others."""
    folder: Path | None = None
    """A local folder of HTML, Markdown, reStructuredText, plain text, PDF or DOCX files, read instead of a site."""
    files: list[Path] | None = None
    """Single files, or JSONL/Parquet tables with one document a row, read instead of a site."""
    sitemaps: bool = True
    """Read the sitemaps that robots.txt names, and `/sitemap.xml`, for pages that no link leads to."""
    include: tuple[str, ...] = ()
    """Read only addresses that match one of these patterns; the start page is read in any case. A pattern stands for
    path and query, as in `/docs/*`, with `*` for any characters; as a whole address, as in
    `https://api.example.org/*`, it also lets another host in."""
    exclude: tuple[str, ...] = ()
    """Leave out addresses that match one of these patterns, as in `*/print/*`."""
    max_pages: Positive = 5000
    """Stop after this many pages or files."""
    max_depth: Annotated[int, Field(ge=0)] = 20
    """Links followed from the start page."""
    max_page_mb: Annotated[float, Field(gt=0)] = 10.0
    """Pages or files that are larger once decoded (in MB) are rejected unread."""
    max_total_mb: Annotated[float, Field(gt=0)] = 10_000.0
    """Stop after so much in all, decoded (in MB); pages nearer to the start come first."""
    max_per_path: Positive = 500
    """Against endless calendars and filters: so many addresses that differ only in their query or date are read."""
    gone_after: Positive = 2
    """A page that was there before leaves after so many runs in a row in which the site says that it is gone."""
    delay_s: Annotated[float, Field(ge=0)] = 0.1
    """Politeness: seconds between the starts of two requests to a host; a longer Crawl-delay in robots.txt wins."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    """Requests to a host under way at once."""
    timeout_s: Annotated[float, Field(gt=0)] = 20.0
    """Seconds without progress after which a request is given up."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """Further tries after a network error, 408, 425, 429, 500 or 502 to 504, with exponential back-off."""
    robots: bool = True
    """Obey robots.txt (RFC 9309)."""
    robots_tags: bool = True
    """Obey `noindex` and `nofollow` in a page's meta tags, its X-Robots-Tag header and its links."""
    user_agent: str = "wellread/0.1 (documentation reader; obeys robots.txt)"
    """Sent with every request, and matched against robots.txt."""
    allow_private: bool = False
    """Permit loopback, private and link-local addresses, which are refused otherwise, on redirects too."""

    @field_validator("site", "sitemap")
    @classmethod
    def _is_http_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("give a full address such as https://example.org/docs/")
        return value

    @field_validator("include", "exclude")
    @classmethod
    def _are_patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            if not re.fullmatch(r"(/|\*|https?://[^/*\s]+(/|$))\S*", pattern):
                raise ValueError(f"{pattern!r} is no pattern; begin with a slash, a star or a whole host: /docs/*")
        return patterns

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        named = [name for name in ("site", "sitemap", "folder", "files") if getattr(self, name)]
        if len(named) > 1:
            raise ValueError(f"set only one of source.{' and source.'.join(named)}")
        if (self.include or self.exclude) and (self.folder or self.files):
            raise ValueError("include and exclude choose among the pages of a site; name a narrower folder, or files")
        return self
