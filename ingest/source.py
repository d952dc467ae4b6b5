"""The first stage: whatever the settings name as the source, as one version of `pages`.

A source is a snapshot: it is read every time, and what has not changed since the last time leads to the same version.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from configs.artifacts import Made, Version, Workspace
from configs.errors import ConfigError
from configs.source import SourceSettings
from ingest.files import read_files
from ingest.folder import read_folder
from ingest.records import Progress
from ingest.web.crawl import STATE, crawl

PAGES = "pages.parquet"
ASKED_OF_A_CRAWL = {
    *("max_pages", "max_depth", "max_per_path", "gone_after", "include", "exclude", "delay_s", "concurrency"),
    *("timeout_s", "retries", "robots", "robots_tags", "sitemaps", "user_agent", "allow_private"),
}
# What decides how and how fast is read, not what.
NOT_WHICH_PAGES = {"delay_s", "concurrency", "timeout_s", "retries"}


def read_source(workspace: Workspace, source: SourceSettings, progress: Progress) -> Version:
    """A snapshot of the source, named by what decides which pages are read; delays only decide how fast."""
    limits = {"max_pages": source.max_pages, "max_page_mb": source.max_page_mb}
    read: Callable[..., Made]
    if source.folder is not None:
        settings = {"folder": str(source.folder.resolve()), **limits}
        read = partial(_read_local, partial(read_folder, source.folder), source)
    elif source.files:
        settings = {"files": [str(path.resolve()) for path in source.files], **limits}
        read = partial(_read_local, partial(read_files, source.files), source)
    elif site := source.site or source.sitemap:
        settings = source.model_dump(mode="json", exclude=NOT_WHICH_PAGES, exclude_none=True)
        read = partial(_crawl, site, source)
    else:
        raise ConfigError(
            "there is nothing to read: none of source.site, source.sitemap, source.folder and source.files is set",
            "Add --set source.site=https://example.org/docs/ or --set source.folder=path/",
        )
    previous = workspace.previous("pages", settings)

    def make(out: Path) -> Made:
        return read(out, previous=previous.path if previous else None, progress=progress)

    version = workspace.build("pages", make, inputs={}, settings=settings, snapshot=True, resumable=True)
    # Until here a crawl that is killed still knows what it has read.
    (version.path / STATE).unlink(missing_ok=True)
    return version


def _crawl(site: str, source: SourceSettings, out: Path, **settings: Any) -> Made:
    return crawl(
        site,
        out,
        **source.model_dump(include=ASKED_OF_A_CRAWL),
        max_page_bytes=int(source.max_page_mb * 1e6),
        max_total_bytes=int(source.max_total_mb * 1e6),
        only_listed=source.sitemap is not None,
        keep_state=True,
        **settings,
    )


def _read_local(read: Callable[..., Made], source: SourceSettings, out: Path, **settings: Any) -> Made:
    max_page_bytes = int(source.max_page_mb * 1e6)
    return read(out, max_pages=source.max_pages, max_page_bytes=max_page_bytes, **settings)
