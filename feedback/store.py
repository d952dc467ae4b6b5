"""The store of what people asked, what they were told, and what they thought of it.

Two append-only tables in a SQL database (SQLite by default, PostgreSQL by URL): interactions, and feedback on them. A
user's newer vote on the same answer replaces the older one when read; the older row stays as history.

Text arrives here already redacted: the store never sees personal data that the guards found.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from configs.errors import ArtifactError, ConfigError

SCHEMA_VERSION = 1
ANONYMOUS = ""


@dataclass(frozen=True)
class Interaction:
    """One answered (or refused) question.

    Attributes:
        id: the id of the chat completion.
        question, answer: as stored, after redaction.
        model: name and version of the model that answered.
        index_version: version id of the index that was searched; empty without retrieval.
        passages: what was shown to the model or cited, as JSON objects.
        guard: verdicts that did something, as JSON objects.
        timings: seconds per step.
    """

    id: str
    question: str
    answer: str
    model: str
    index_version: str = ""
    user: str = ANONYMOUS
    grounded: bool = False
    finish_reason: str = "stop"
    passages: list[dict[str, Any]] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
    guard: list[dict[str, Any]] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True)
class Feedback:
    """What a person thought of one answer: a vote, a better answer, a comment, or several of them."""

    interaction_id: str
    vote: Literal["up", "down"] | None = None
    correction: str | None = None
    comment: str | None = None
    user: str = ANONYMOUS
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))


Row = TypeVar("Row", Interaction, Feedback)


class _UtcDateTime(sa.TypeDecorator[datetime]):
    """Times in UTC on every database; SQLite forgets the zone, so it is put back on reading."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


METADATA = sa.MetaData()
INTERACTIONS = sa.Table(
    "interactions",
    METADATA,
    sa.Column("id", sa.String(100), primary_key=True),
    sa.Column("created", _UtcDateTime, nullable=False, index=True),
    sa.Column("user", sa.String(200), nullable=False),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("model", sa.String(300), nullable=False),
    sa.Column("index_version", sa.String(100), nullable=False),
    sa.Column("grounded", sa.Boolean, nullable=False),
    sa.Column("finish_reason", sa.String(40), nullable=False),
    sa.Column("passages", sa.JSON, nullable=False),
    sa.Column("parameters", sa.JSON, nullable=False),
    sa.Column("guard", sa.JSON, nullable=False),
    sa.Column("timings", sa.JSON, nullable=False),
)
FEEDBACK = sa.Table(
    "feedback",
    METADATA,
    sa.Column("id", sa.String(100), primary_key=True),
    sa.Column("interaction_id", sa.ForeignKey("interactions.id"), nullable=False, index=True),
    sa.Column("created", _UtcDateTime, nullable=False, index=True),
    sa.Column("user", sa.String(200), nullable=False),
    sa.Column("vote", sa.String(10)),
    sa.Column("correction", sa.Text),
    sa.Column("comment", sa.Text),
)
VERSIONS = sa.Table("schema_version", METADATA, sa.Column("version", sa.Integer, primary_key=True))


class Store:
    """An open store; safe to share between threads.

    Args:
        url: a SQLAlchemy URL. Missing tables are created, and the folder of a SQLite file too.

    Raises:
        ConfigError: the URL is malformed, or its driver is not installed.
        ArtifactError: the database cannot be reached or written, or was made by a newer wellread.
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        # Never the URL itself: it may hold a password.
        self.location = self._engine.url.render_as_string(hide_password=True)
        with self._writing() as connection:
            METADATA.create_all(connection)
            found = connection.scalar(sa.select(sa.func.max(VERSIONS.c.version)))
            if found is None:
                connection.execute(sa.insert(VERSIONS).values(version=SCHEMA_VERSION))
        if found is not None and found > SCHEMA_VERSION:
            raise ArtifactError(
                f"{self.location} has schema {found}, and this wellread knows {SCHEMA_VERSION}", "Upgrade wellread"
            )

    def record(self, interaction: Interaction) -> None:
        """Keep an interaction; a second one with the same id replaces nothing and is ignored."""
        try:
            with self._writing() as connection:
                connection.execute(sa.insert(INTERACTIONS).values(**asdict(interaction)))
        except IntegrityError:
            return

    def add_feedback(self, feedback: Feedback) -> Feedback:
        """Keep a person's feedback and return it.

        Raises:
            KeyError: there is no such interaction.
        """
        if self.interaction(feedback.interaction_id) is None:
            raise KeyError(feedback.interaction_id)
        with self._writing() as connection:
            connection.execute(sa.insert(FEEDBACK).values(**asdict(feedback)))
        return feedback

    def interaction(self, interaction_id: str) -> Interaction | None:
        """One interaction, or None."""
        query = sa.select(INTERACTIONS).where(INTERACTIONS.c.id == interaction_id)
        return next(iter(self._read(query, Interaction)), None)

    def interactions(self, limit: int | None = None, since: datetime | None = None) -> list[Interaction]:
        """Interactions, newest first."""
        return self._read(_newest(INTERACTIONS, limit, since), Interaction)

    def feedback(self, limit: int | None = None, since: datetime | None = None) -> list[Feedback]:
        """Every feedback row, newest first, replaced votes included."""
        return self._read(_newest(FEEDBACK, limit, since), Feedback)

    def votes(self, since: datetime | None = None) -> dict[tuple[str, str], str]:
        """The vote that counts, by (interaction id, user): each user's last one on an answer."""
        rows = reversed(self.feedback(since=since))
        return {(row.interaction_id, row.user): row.vote for row in rows if row.vote}

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _read(self, query: sa.Select[Any], kind: type[Row]) -> list[Row]:
        names = [item.name for item in fields(kind)]
        with self._reaching() as engine, engine.connect() as connection:
            return [kind(**{name: row[name] for name in names}) for row in connection.execute(query).mappings()]

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with self._reaching() as engine, engine.begin() as connection:
            yield connection

    @contextmanager
    def _reaching(self) -> Iterator[sa.Engine]:
        try:
            yield self._engine
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            cause = " ".join(str(getattr(error, "orig", error)).split())
            raise ArtifactError(
                f"the feedback store {self.location} cannot be used: {cause}",
                "Check that the database is running, that its disk is not full, and that it may be written",
            ) from error


def _newest(table: sa.Table, limit: int | None, since: datetime | None) -> sa.Select[Any]:
    query = sa.select(table).order_by(table.c.created.desc(), table.c.id)
    if since is not None:
        query = query.where(table.c.created >= since)
    return query.limit(limit) if limit is not None else query


def _engine(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(parsed, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        driver = error.name if isinstance(error, ModuleNotFoundError) else str(error).split(" from ")[0]
        raise ConfigError(
            f"feedback.database cannot be used: {driver}",
            "Write it like postgresql+psycopg://user@host/name, and install the extra `postgres`",
        ) from None
    except OSError as error:
        raise ArtifactError(
            f"cannot make the folder of the feedback store {parsed.database}: {error.strerror}",
            "Choose another place with --set root=/other/folder, or set feedback.database",
        ) from None
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # WAL: readers never wait for the writer. FULL: an acknowledged vote survives a power cut, not only a crash.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
