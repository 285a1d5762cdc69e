"""The lines of Doris the demo engine can answer as, and what each calls itself."""

from dataclasses import dataclass

DEMO = "Doris-compatible DEMO engine (DuckDB), not Apache Doris"


@dataclass(frozen=True, slots=True)
class Version:
    """A line of Doris by its `name` ("3.0"), and a release of it that this engine looks like."""

    name: str
    release: str

    @property
    def has_old_planner(self) -> bool:
        """Whether another planner may take over what the one of today refuses."""
        return self.name < "3.0"

    @property
    def build(self) -> str:
        """As SHOW FRONTENDS tells it; Doris puts a commit where the word DEMO stands."""
        return f"doris-{self.release}-rc01-DEMO (DuckDB, not Apache Doris)"

    @property
    def comment(self) -> str:
        """As @@version_comment tells it."""
        return f"Doris version {self.build}"


VERSIONS = {v.name: v for v in (Version("2.1", "2.1.11"), Version("3.0", "3.0.8"), Version("4.0", "4.0.1"))}
LATEST = VERSIONS["4.0"]
